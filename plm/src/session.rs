use std::fmt;
use std::time::Instant;

use burn::tensor::Tensor;
use plm_llm::KvCache;
use plm_processor::{Content, Conversation, Message, Role};

use crate::{Answer, Decoding, Error, PerceptionLM, Stream, Timing};

/// A conversation of several turns that keeps what it has read.
///
/// Between turns the session holds the KV cache and the embeddings of the pictures, so that a
/// further question reads only what is new. The answers are those of a fresh run over the whole
/// conversation: where re-reading an answer as text gives other tokens than were generated, the
/// cache is cut back to the common beginning.
#[derive(Debug)]
pub struct Session<'a> {
    plm: &'a PerceptionLM,
    conversation: Conversation,
    /// Token embeddings of each picture of the conversation.
    features: Vec<Tensor<2>>,
    cache: KvCache,
    /// The tokens whose keys and values the cache holds.
    cached_ids: Vec<u32>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(plm: &'a PerceptionLM) -> Self {
        Self {
            plm,
            conversation: Conversation::default(),
            features: Vec::new(),
            cache: plm.model().language_model.new_cache(),
            cached_ids: Vec::new(),
        }
    }

    /// Sets the system text of the conversation.
    #[must_use]
    pub fn with_system(mut self, text: impl Into<String>) -> Self {
        self.conversation.system = Some(text.into());
        self
    }

    /// The conversation so far.
    pub fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// Asks the next question and returns the whole answer, which joins the conversation.
    ///
    /// # Errors
    ///
    /// As [`PerceptionLM::generate`]; the conversation is unchanged then.
    pub fn ask(&mut self, content: Vec<Content>, decoding: &Decoding) -> Result<Answer, Error> {
        let mut stream = self.stream(content, decoding)?;
        for piece in stream.by_ref() {
            piece?;
        }
        Ok(stream.answer())
    }

    /// Asks the next question and returns the answer piece by piece.
    ///
    /// The answer joins the conversation when the stream has ended, or as far as it has come when
    /// the stream is dropped earlier. After an error, or where nothing was generated, the question
    /// is withdrawn.
    ///
    /// # Errors
    ///
    /// As [`PerceptionLM::stream`]; the conversation is unchanged then.
    pub fn stream(
        &mut self,
        content: Vec<Content>,
        decoding: &Decoding,
    ) -> Result<SessionStream<'_, 'a>, Error> {
        self.conversation.messages.push(Message {
            role: Role::User,
            content,
        });
        match self.start(decoding) {
            Ok(stream) => Ok(SessionStream {
                session: self,
                stream: Some(stream),
                failed: false,
            }),
            Err(error) => {
                self.conversation.messages.pop();
                Err(error)
            }
        }
    }

    fn start(&mut self, decoding: &Decoding) -> Result<Stream<'a>, Error> {
        decoding.check()?;
        let start = Instant::now();
        let prompt = self.plm.encode(&self.conversation)?;
        self.plm.check_prompt(&prompt)?;
        let mut timing = Timing {
            preprocess: start.elapsed(),
            ..Timing::default()
        };

        let start = Instant::now();
        // A question that failed may have left the features of its pictures.
        let known = self.conversation.messages[..self.conversation.messages.len() - 1]
            .iter()
            .flat_map(|message| &message.content)
            .filter(|content| !matches!(content, Content::Text(_)))
            .count();
        self.features.truncate(known);
        // By Meta's rules a picture loses its tiles when another one joins it.
        let as_before = self.features.iter().zip(&prompt.media);
        let as_before = as_before.take_while(|(f, media)| f.dims()[0] == media.num_tokens());
        let as_before = as_before.count();
        self.features.truncate(as_before);
        let changed_from = prompt
            .media
            .get(as_before)
            .map(|media| media.positions.start);
        for media in &prompt.media[self.features.len()..] {
            let features = self.plm.embed_media(media)?;
            self.features.push(features);
        }
        timing.vision = start.elapsed();

        let same = self.cached_ids.iter().zip(&prompt.token_ids);
        let common = same.take_while(|(a, b)| a == b).count();
        // The last token is read again, since its logits are wanted.
        let keep = common
            .min(prompt.token_ids.len() - 1)
            .min(changed_from.unwrap_or(usize::MAX));
        let mut cache =
            std::mem::replace(&mut self.cache, self.plm.model().language_model.new_cache());
        self.cached_ids.clear();
        cache.truncate(keep);
        Stream::start(
            self.plm,
            &prompt,
            &self.features,
            cache,
            None,
            decoding,
            timing,
        )
    }
}

/// An answer of a [`Session`] as it is generated: an iterator over pieces of text.
pub struct SessionStream<'s, 'a> {
    session: &'s mut Session<'a>,
    /// Taken when the stream is dropped.
    stream: Option<Stream<'a>>,
    failed: bool,
}

impl fmt::Debug for SessionStream<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStream")
            .field("stream", &self.stream)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl SessionStream<'_, '_> {
    /// What has been generated so far.
    ///
    /// # Panics
    ///
    /// Never: the stream is there until it is dropped.
    pub fn answer(&self) -> Answer {
        let stream = self.stream.as_ref();
        stream
            .expect("the stream is there until it is dropped")
            .answer()
    }
}

impl Iterator for SessionStream<'_, '_> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.stream.as_mut()?.next();
        self.failed |= matches!(piece, Some(Err(_)));
        piece
    }
}

impl Drop for SessionStream<'_, '_> {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        let session = &mut *self.session;
        let answer = stream.answer();
        if self.failed || answer.token_ids.is_empty() {
            session.conversation.messages.pop();
            return;
        }
        session.conversation.messages.push(Message {
            role: Role::Assistant,
            content: vec![Content::Text(answer.text)],
        });
        session.cache = stream.take_cache();
        session.cached_ids = stream.ids()[..session.cache.len()].to_vec();
    }
}
