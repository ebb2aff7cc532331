use burn::tensor::Device;

/// What a GPU says of its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Bytes of it, or of what it may take of the machine's; nothing where it does not say, as through
    /// `wgpu` alone.
    pub bytes: Option<u64>,
    /// Bytes that it can hold in one piece.
    pub largest_piece: u64,
}

impl DeviceMemory {
    /// The memory of a GPU, which is opened; nothing of the CPU.
    #[cfg(feature = "gpu")]
    pub fn of(device: &Device) -> Option<Self> {
        use burn::backend::DispatchDevice;
        match device.clone().without_autodiff().as_dispatch() {
            DispatchDevice::Cube(device) => {
                let client = device.client();
                let memory = &client.properties().memory;
                Some(Self {
                    bytes: memory.max_memory(),
                    largest_piece: memory.max_page_size,
                })
            }
            #[allow(
                unreachable_patterns,
                reason = "nothing is left where no other backend is built in"
            )]
            _ => None,
        }
    }

    /// The memory of a GPU; this build has none.
    #[cfg(not(feature = "gpu"))]
    pub fn of(_: &Device) -> Option<Self> {
        None
    }
}
