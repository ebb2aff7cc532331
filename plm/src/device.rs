mod memory;

use std::fmt;
use std::str::FromStr;

use burn::tensor::{DType, Device};
use plm_kernels::BLOCK;
use plm_linear::Weight;

use crate::Error;

use memory::memory_bytes;
pub(crate) use memory::{check_memory, check_piece, free_memory};

/// Where a model computes.
///
/// As text: `auto`, `flex` (or `cpu`), or an interface to GPUs such as `vulkan`, with the number of a
/// device after a colon (`vulkan:1`) if it is not the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeviceChoice {
    /// The best device that is there: a GPU through the first of [`GpuApi::ALL`] that is built in and
    /// finds one, otherwise the CPU. A CPU that passes for a GPU, as software drivers offer, is taken
    /// only where nothing else is built in.
    #[default]
    Auto,
    /// The CPU, through burn's flex backend.
    Flex,
    /// A GPU, by its number among those that the interface finds.
    Gpu(GpuApi, usize),
}

/// An interface to GPUs, each a Cargo feature of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GpuApi {
    /// NVIDIA's.
    Cuda,
    /// AMD's.
    Rocm,
    /// Apple's.
    Metal,
    /// Vulkan, with shaders in SPIR-V.
    Vulkan,
    /// Whichever of Vulkan, Metal, DirectX 12 and OpenGL there is, with shaders in WGSL unless a build
    /// has better ones.
    Wgpu,
}

/// A device that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The choice that leads to it.
    pub choice: DeviceChoice,
    /// What the device calls itself.
    pub name: String,
    /// Whether it is a GPU, and not a CPU that computes as one.
    pub is_gpu: bool,
    /// Formats in which it can hold weights: of `f32`, `bf16`, `f16`, `q8`, `q4` and `nf4`.
    pub formats: Vec<&'static str>,
    /// Bytes of memory that a GPU says it has, or may take of the machine's. Nothing where it does not
    /// say, as through `wgpu` alone, and of the CPU.
    pub memory_bytes: Option<u64>,
}

/// All devices that this build can use here, in the order in which [`DeviceChoice::Auto`] prefers
/// them. GPUs are opened for it, which takes moments.
pub fn devices() -> Vec<DeviceInfo> {
    let mut found: Vec<DeviceInfo> = GpuApi::ALL.into_iter().flat_map(GpuApi::infos).collect();
    #[cfg(feature = "flex")]
    found.push(DeviceInfo {
        choice: DeviceChoice::Flex,
        name: "CPU".into(),
        is_gpu: false,
        formats: weight_formats(&Device::flex()),
        memory_bytes: None,
    });
    // The CPU itself before the CPU that passes for a GPU.
    found.sort_by_key(|device| match device.choice {
        _ if device.is_gpu => 0,
        DeviceChoice::Flex => 1,
        _ => 2,
    });
    found
}

/// Formats in which a device can hold weights, of `f32`, `bf16`, `f16`, `q8`, `q4` and `nf4`.
pub fn weight_formats(device: &Device) -> Vec<&'static str> {
    let reads = |dtype| Weight::is_read(device, dtype, BLOCK);
    // Scales of blocks are f16.
    let formats = [
        ("f32", reads(DType::F32)),
        ("bf16", reads(DType::BF16)),
        ("f16", reads(DType::F16)),
        ("q8", reads(DType::I8) && reads(DType::F16)),
        ("q4", reads(DType::U8) && reads(DType::F16)),
        ("nf4", reads(DType::U8)),
    ];
    let formats = formats.into_iter().filter(|&(_, holds)| holds);
    formats.map(|(name, _)| name).collect()
}

/// The precision in which a device holds rows of `d_input` numbers that a file stores in `stored`: the
/// same if it can multiply with it, otherwise f16, otherwise f32.
pub(crate) fn held_dtype(stored: DType, d_input: usize, device: &Device) -> DType {
    [stored, DType::F16]
        .into_iter()
        .find(|&dtype| Weight::is_read(device, dtype, d_input))
        .unwrap_or(DType::F32)
}

/// Checks that a device can hold weights in some formats.
///
/// # Errors
///
/// [`Error::Device`] that names the first that it cannot.
pub(crate) fn check_formats(
    device: &Device,
    choice: DeviceChoice,
    wanted: impl IntoIterator<Item = &'static str>,
) -> Result<(), Error> {
    let held = weight_formats(device);
    match wanted.into_iter().find(|format| !held.contains(format)) {
        None => Ok(()),
        Some(format) => Err(choice.error(format!(
            "it cannot hold weights in {format}, but in {}; device `flex`, the CPU, can hold all",
            held.join(", ")
        ))),
    }
}

/// A device for a model of which only the shapes are looked at: the CPU where it is built in, since a
/// GPU takes time to open.
pub(crate) fn device_of_shapes() -> Result<Device, Error> {
    match cfg!(feature = "flex") {
        true => DeviceChoice::Flex.resolve(),
        false => DeviceChoice::Auto.resolve(),
    }
}

/// What a user calls a device, such as `vulkan:1`.
pub fn device_name(device: &Device) -> String {
    DeviceChoice::of(device).map_or_else(|| format!("{device:?}"), |choice| choice.to_string())
}

impl DeviceChoice {
    /// The choice that leads to a device; nothing if it is none of those that are found here.
    pub fn of(device: &Device) -> Option<Self> {
        #[cfg(feature = "flex")]
        if *device == Device::flex() {
            return Some(Self::Flex);
        }
        GpuApi::ALL.into_iter().find_map(|api| {
            let number = api.devices().iter().position(|other| other == device);
            number.map(|number| Self::Gpu(api, number))
        })
    }

    /// The choice that is not [`Auto`](Self::Auto): what `Auto` takes here, otherwise this one.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] when no backend is built in that finds a device.
    pub fn settle(self) -> Result<Self, Error> {
        match self {
            Self::Auto => match devices().first() {
                Some(device) => Ok(device.choice),
                None => Err(self.error(nothing_found())),
            },
            Self::Flex | Self::Gpu(..) => Ok(self),
        }
    }

    /// Checks that this build can use it, whether or not it is there.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] that names the feature to build with.
    pub fn check_built_in(self) -> Result<(), Error> {
        let (is_built_in, feature) = match self {
            Self::Auto => return Ok(()),
            Self::Flex => (cfg!(feature = "flex"), "flex"),
            Self::Gpu(api, _) => (api.is_built_in(), api.name()),
        };
        match is_built_in {
            true => Ok(()),
            false => Err(self.error(format!(
                "it is not built in; build with feature `{feature}`"
            ))),
        }
    }

    /// The device.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] when its backend is not built in or finds no such device; it says what would
    /// help.
    pub fn resolve(self) -> Result<Device, Error> {
        let choice = self.settle()?;
        choice.check_built_in()?;
        match choice {
            Self::Gpu(api, number) => {
                let mut found = api.devices();
                match found.len() {
                    len if number < len => Ok(found.swap_remove(number)),
                    0 => Err(self.error(format!("no device was found; {}", api.remedy()))),
                    len => Err(self.error(format!("there are {len} devices, from number 0 on"))),
                }
            }
            #[cfg(feature = "flex")]
            Self::Auto | Self::Flex => Ok(Device::flex()),
            #[cfg(not(feature = "flex"))]
            Self::Auto | Self::Flex => Err(self.error(nothing_found())),
        }
    }

    fn error(self, what: String) -> Error {
        Error::Device {
            name: self.to_string(),
            what,
        }
    }
}

/// What is wrong where nothing can be chosen.
fn nothing_found() -> String {
    let built_in: Vec<&str> = GpuApi::ALL
        .into_iter()
        .filter(|api| api.is_built_in())
        .map(GpuApi::name)
        .collect();
    match built_in.as_slice() {
        [] => "no backend is built in; build with feature `flex` or one of a GPU".into(),
        names => format!(
            "{} found no device, and feature `flex`, the CPU, is not built in",
            names.join(" and ")
        ),
    }
}

impl GpuApi {
    /// All, those first that get most out of a device.
    pub const ALL: [Self; 5] = [
        Self::Cuda,
        Self::Rocm,
        Self::Metal,
        Self::Vulkan,
        Self::Wgpu,
    ];

    /// The name, in lower case; that of the Cargo feature too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::Metal => "metal",
            Self::Vulkan => "vulkan",
            Self::Wgpu => "wgpu",
        }
    }

    /// Whether this build can use it.
    pub fn is_built_in(self) -> bool {
        match self {
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Rocm => cfg!(feature = "rocm"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Wgpu => cfg!(feature = "wgpu"),
        }
    }

    /// What helps where no device is found.
    fn remedy(self) -> &'static str {
        match self {
            Self::Cuda => {
                "NVIDIA's driver must be installed (`nvidia-smi` shows its devices), and the CUDA \
                 toolkit, with whose libdevice kernels are linked (`CUDA_PATH` names its folder)"
            }
            Self::Rocm => "AMD's ROCm must be installed (`rocminfo` shows its devices)",
            Self::Metal => "it is part of macOS alone",
            Self::Vulkan | Self::Wgpu => {
                "the GPU's driver of Vulkan must be installed, on Linux often package \
                 `mesa-vulkan-drivers` (`vulkaninfo --summary` shows its devices)"
            }
        }
    }

    /// Its devices, which are not opened yet; none where it is not built in.
    fn devices(self) -> Vec<Device> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda if has_cuda_toolkit() => {
                Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec()
            }
            #[cfg(feature = "rocm")]
            Self::Rocm => Device::enumerate(burn::tensor::DeviceType::Rocm).into_vec(),
            #[cfg(feature = "metal")]
            Self::Metal => Device::enumerate(burn::tensor::DeviceType::Metal).into_vec(),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Device::enumerate(burn::tensor::DeviceType::Vulkan).into_vec(),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec(),
            #[allow(
                unreachable_patterns,
                reason = "nothing is left where all are built in"
            )]
            _ => Vec::new(),
        }
    }

    /// What its devices say of themselves. Opens them.
    fn infos(self) -> Vec<DeviceInfo> {
        let devices = self.devices();
        let infos = devices.iter().enumerate().map(|(number, device)| {
            #[allow(unused_mut, reason = "nothing is found where no backend is built in")]
            let mut info = DeviceInfo {
                choice: DeviceChoice::Gpu(self, number),
                name: self.name().into(),
                is_gpu: false,
                formats: weight_formats(device),
                memory_bytes: memory_bytes(device),
            };
            #[cfg(feature = "gpu")]
            if let Some(identity) = device.identity() {
                info.name = identity.name;
                info.is_gpu = identity.physical.is_some();
            }
            info
        });
        infos.collect()
    }
}

/// Whether the library of the CUDA toolkit that kernels are linked with is where burn's backend looks
/// for it.
#[cfg(feature = "cuda")]
fn has_cuda_toolkit() -> bool {
    let has_library = |root: &str| {
        let library = "nvvm/libdevice/libdevice.10.bc";
        std::path::Path::new(root).join(library).is_file()
    };
    match std::env::var("CUDA_PATH") {
        Ok(root) => has_library(&root),
        Err(_) => {
            let usual = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda", "/usr"];
            usual.into_iter().any(has_library)
        }
    }
}

impl fmt::Display for GpuApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Flex => f.write_str("flex"),
            Self::Gpu(api, 0) => write!(f, "{api}"),
            Self::Gpu(api, number) => write!(f, "{api}:{number}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: String| Error::Device {
            name: text.into(),
            what,
        };
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number)),
            None => (text, None),
        };
        let api = GpuApi::ALL.into_iter().find(|api| api.name() == name);
        match (name, api, number) {
            ("auto", _, None) => Ok(Self::Auto),
            ("flex" | "cpu", _, None) => Ok(Self::Flex),
            (_, Some(api), None) => Ok(Self::Gpu(api, 0)),
            (_, Some(api), Some(number)) => match number.parse() {
                Ok(number) => Ok(Self::Gpu(api, number)),
                Err(_) => Err(wrong(format!("`{number}` is no number of a device"))),
            },
            _ => Err(wrong(format!(
                "it is none of auto, flex (the CPU), {}",
                GpuApi::ALL.map(GpuApi::name).join(", ")
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for text in ["auto", "flex", "cuda", "vulkan:1", "metal"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("cpu".parse::<DeviceChoice>().unwrap(), DeviceChoice::Flex);
        let first: DeviceChoice = "wgpu:0".parse().unwrap();
        assert_eq!(first, DeviceChoice::Gpu(GpuApi::Wgpu, 0));
        for text in ["", "tpu", "auto:1", "cuda:", "cuda:-1", "vulkan:1:2"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_absent_device_is_an_error_that_says_what_helps() {
        for api in GpuApi::ALL {
            let choice = DeviceChoice::Gpu(api, 4711);
            let error = choice.resolve().unwrap_err().to_string();
            let expected = match api.is_built_in() {
                true if api.infos().is_empty() => "no device was found",
                true => "from number 0 on",
                false => "build with feature",
            };
            assert!(error.contains(expected), "{error}");
            assert!(error.contains(api.name()), "{error}");
        }
    }

    #[test]
    fn the_device_that_is_taken_is_the_first_of_the_list() {
        let choice = DeviceChoice::Auto.settle();
        match devices().first() {
            Some(first) => {
                assert_eq!(choice.unwrap(), first.choice);
                assert_eq!(first.formats[0], "f32");
                let device = first.choice.resolve().unwrap();
                assert_eq!(DeviceChoice::of(&device), Some(first.choice));
            }
            None => assert!(choice.is_err()),
        }
    }
}
