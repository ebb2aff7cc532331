use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use crate::Error;

/// Where a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The best device that is built in.
    #[default]
    Auto,
    /// The CPU, through burn's flex backend.
    Flex,
}

impl DeviceChoice {
    /// The device.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] when its backend is not built in.
    pub fn resolve(self) -> Result<Device, Error> {
        #[cfg(feature = "flex")]
        return Ok(Device::flex());
        #[cfg(not(feature = "flex"))]
        Err(Error::Device {
            name: self.to_string(),
            what: "no backend is built in; build with feature `flex`".into(),
        })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Flex => "flex",
        })
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "auto" => Ok(Self::Auto),
            "flex" | "cpu" => Ok(Self::Flex),
            _ => Err(Error::Device {
                name: name.into(),
                what: "it is not built in; `auto` and `flex` (the CPU) are".into(),
            }),
        }
    }
}
