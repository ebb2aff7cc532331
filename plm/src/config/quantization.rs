//! What a config says of weights that are rounded.

use serde::Deserialize;

use super::{BITSANDBYTES, QUANT_METHOD};

#[derive(Deserialize)]
pub(super) struct RawQuantization {
    quant_method: Option<String>,
    bnb_4bit_quant_type: Option<String>,
    bnb_4bit_use_double_quant: Option<bool>,
    bnb_4bit_quant_storage: Option<String>,
}

impl RawQuantization {
    /// Whether the weights are rounded in a way that can be read.
    pub(super) fn is_known(&self) -> bool {
        let storage = self.bnb_4bit_quant_storage.as_deref();
        match self.quant_method.as_deref() {
            Some(QUANT_METHOD) => true,
            Some(BITSANDBYTES) => {
                self.bnb_4bit_quant_type.as_deref() == Some("nf4")
                    && self.bnb_4bit_use_double_quant == Some(true)
                    && matches!(storage, None | Some("uint8"))
            }
            _ => false,
        }
    }

    /// Who rounded them.
    pub(super) fn method(&self) -> &str {
        self.quant_method.as_deref().unwrap_or("unknown")
    }
}
