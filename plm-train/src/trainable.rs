use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::Tensor;
use plm::Model;

use crate::{Error, LoraConfig};

/// What of a model is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Trainable {
    /// Everything.
    All,
    /// Everything but the vision tower.
    FrozenVision,
    /// The projector alone, as in Meta's first stage.
    Projector,
    /// Everything but the decoder.
    FrozenDecoder,
    /// Adapters beside the weights, which may have any format.
    Lora(LoraConfig),
}

/// Makes a model ready for training: what is trained is on a device that takes gradients, and the
/// rest stays as it is, with the kernels it has. New adapters are drawn from `seed`; an adapter that
/// a layer has already is trained further.
///
/// What is trained must be of f32: load the model with
/// [`Precision::F32`](plm::Precision::F32), or train adapters.
///
/// # Errors
///
/// [`Error::Config`] when a setting is out of range, weights that would be trained are not of f32, or
/// the model has adapters that are not those to be trained.
pub fn prepare(mut model: Model, trainable: &Trainable, seed: u64) -> Result<Model, Error> {
    let [vision, projector, decoder] = match trainable {
        Trainable::All => [true; 3],
        Trainable::FrozenVision => [false, true, true],
        Trainable::Projector => [false, true, false],
        Trainable::FrozenDecoder => [true, true, false],
        Trainable::Lora(config) => {
            config.attach(&mut model, seed)?;
            [false; 3]
        }
    };
    let mut linears = model.linears().into_iter();
    if !matches!(trainable, Trainable::Lora(_))
        && let Some((name, _)) = linears.find(|(_, linear)| !linear.adapters.is_empty())
    {
        return Err(Error::Config {
            what: format!("`{name}` has an adapter; merge it, or train adapters"),
        });
    }
    model = model.map(&mut Renumber(0));
    for (name, linear) in model.linears() {
        let trained = match () {
            () if name.starts_with("model.vision_tower.") => vision,
            () if name.starts_with("model.multi_modal_projector.") => projector,
            () => decoder,
        };
        let format = linear.weight.format_name();
        if trained && format != "f32" {
            return Err(Error::Config {
                what: format!("`{name}` is of {format}; only weights of f32 can be trained"),
            });
        }
        let adapters = std::mem::take(&mut linear.adapters);
        linear.adapters = adapters.unfreeze().train();
    }
    if vision {
        model.vision_tower = model.vision_tower.unfreeze().train();
    }
    if projector {
        model.multi_modal_projector = model.multi_modal_projector.unfreeze().train();
    }
    if decoder {
        model.language_model = model.language_model.unfreeze().train();
    }
    Ok(model)
}

/// Gives parameters the ids that a model of the same structure has in every run, by which a resumed
/// optimiser knows them again.
struct Renumber(u64);

impl ModuleMapper for Renumber {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0 += 1;
        let (_, tensor, mapper) = param.consume();
        Param::from_mapped_value(ParamId::from(self.0), tensor, mapper)
    }
}
