use plm::{DeviceInfo, devices};
use serde::Serialize;

use crate::args::DevicesArgs;
use crate::error::Error;
use crate::output;

/// A device as it is printed.
#[derive(Debug, Serialize)]
struct DeviceReport {
    /// What `--device` calls it.
    device: String,
    name: String,
    gpu: bool,
    formats: Vec<&'static str>,
    /// Of a GPU that says what it has.
    memory_bytes: Option<u64>,
    /// Whether `--device auto` takes it.
    auto: bool,
}

pub(crate) fn run(args: DevicesArgs) -> Result<(), Error> {
    let reports = reports(devices());
    if args.json {
        return output::json(&reports);
    }
    for report in reports {
        let memory = report.memory_bytes.map_or_else(String::new, |bytes| {
            format!("{:.1} GB; ", bytes as f64 / 1e9)
        });
        output::line(&format!(
            "{:<10} {} ({memory}{}){}",
            report.device,
            report.name,
            report.formats.join(", "),
            if report.auto { ", taken by auto" } else { "" },
        ))?;
    }
    Ok(())
}

fn reports(devices: Vec<DeviceInfo>) -> Vec<DeviceReport> {
    let reports = devices
        .into_iter()
        .enumerate()
        .map(|(i, info)| DeviceReport {
            device: info.choice.to_string(),
            name: info.name,
            gpu: info.is_gpu,
            formats: info.formats,
            memory_bytes: info.memory_bytes,
            auto: i == 0,
        });
    reports.collect()
}
