use plm::{Prompt, TrainingPrompt};

/// A prompt, and for each of its tokens the id that is to be learnt, if any.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Token ids and media.
    pub prompt: Prompt,
    /// What is to be learnt at each place. There may be more labels than tokens: those of the
    /// padding that follows in a batch, where it counts.
    pub labels: Vec<Option<u32>>,
}

impl Sample {
    /// Meta's rule: the answers are learnt, with the header before and the ends after them.
    pub fn of_answers(sample: TrainingPrompt) -> Self {
        let TrainingPrompt {
            prompt, answers, ..
        } = sample;
        let mut labels = vec![None; prompt.len()];
        for answer in answers {
            for i in answer {
                labels[i] = Some(prompt.token_ids[i]);
            }
        }
        Self { prompt, labels }
    }

    /// The rule of the model card's example: all text is learnt, questions included, and only what
    /// stands for pictures is not.
    pub fn of_all_text(prompt: Prompt) -> Self {
        let mut labels: Vec<Option<u32>> = prompt.token_ids.iter().copied().map(Some).collect();
        for media in &prompt.media {
            labels[media.positions.clone()].fill(None);
        }
        Self { prompt, labels }
    }

    /// Tokens that a step learns from. The first token of a prompt follows nothing.
    pub fn num_labels(&self) -> usize {
        self.labels.iter().skip(1).flatten().count()
    }
}
