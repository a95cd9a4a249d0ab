//! What the processes of a run compute on: build, system and machine, for people who compare runs or repeat them.

use std::collections::BTreeSet;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The file in a run's folder with a line for every process that began or continued the run.
pub const ENVIRONMENT: &str = "environment.jsonl";

/// Instruction sets that decide how fast a CPU multiplies matrices, by their names in `/proc/cpuinfo`: of x86-64, then of ARM.
const INSTRUCTIONS: [&str; 17] = [
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimdhp",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
    "sve2",
];

/// The build of a program that trains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// Version of rlar.
    pub version: String,
    /// The commit at which the source was; `None` if the build does not know it.
    pub commit: Option<String>,
    /// Features of cargo that change what is computed, such as `cuda`.
    pub features: Vec<String>,
}

/// How a process of a run computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Computation<'a> {
    /// Number of steps that earlier processes of the run have done.
    pub step: u64,
    /// Number of threads that compute.
    pub threads: usize,
    /// The device, such as `cpu` or `cuda:0`.
    pub device: &'a str,
}

/// What a process of a run computes on; a line of [`ENVIRONMENT`]. What the system does not say is `None` or empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessEnvironment {
    /// Number of steps done when the process began.
    pub step: u64,
    /// When it began, in seconds since 1970.
    pub time: f64,
    /// Version of rlar.
    pub version: String,
    /// The commit at which the source was.
    pub commit: Option<String>,
    /// Features of cargo that change what is computed.
    pub features: Vec<String>,
    /// The operating system, such as `Debian GNU/Linux 13 (trixie)`.
    pub system: Option<String>,
    /// Kind, release and architecture of the kernel, such as `linux 6.12.0 x86_64`.
    pub kernel: String,
    /// Model of the CPU.
    pub cpu: Option<String>,
    /// Number of cores that the process may use.
    pub cores: Option<usize>,
    /// Number of threads that compute.
    pub threads: usize,
    /// Those instruction sets of the CPU that matter for speed.
    pub instructions: Vec<String>,
    /// Bytes of memory that the machine has, or that the process may use if that is less.
    pub memory: Option<u64>,
    /// The device that the config names.
    pub device: String,
    /// Models of the machine's NVIDIA GPUs; empty on a CPU.
    pub gpus: Vec<String>,
}

impl ProcessEnvironment {
    /// What this process computes on.
    pub fn now(build: &Build, Computation { step, threads, device }: Computation) -> Self {
        let cpu = read("/proc/cpuinfo");
        let release = read("/proc/sys/kernel/osrelease");
        let names = [std::env::consts::OS, release.trim(), std::env::consts::ARCH];
        Self {
            step,
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            version: build.version.clone(),
            commit: build.commit.clone(),
            features: build.features.clone(),
            system: distribution(&read("/etc/os-release")),
            kernel: names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(" "),
            cpu: field(&cpu, "model name", ':').map(str::to_owned),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            threads,
            instructions: instructions(&cpu),
            memory: memory(&read("/proc/meminfo"), &read("/sys/fs/cgroup/memory.max")),
            device: device.to_owned(),
            gpus: if device == "cpu" { Vec::new() } else { gpus() },
        }
    }
}

/// The text of a file of the system; empty if there is none.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line of the form `NAME SEPARATOR VALUE`; `None` if there is none.
fn field<'t>(text: &'t str, name: &str, separator: char) -> Option<&'t str> {
    let value =
        |line: &'t str| line.split_once(separator).filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
    text.lines().find_map(value).filter(|value| !value.is_empty())
}

/// The name of the system in the text of `/etc/os-release`.
fn distribution(release: &str) -> Option<String> {
    field(release, "PRETTY_NAME", '=').map(|name| name.trim_matches('"').to_owned())
}

/// The instruction sets in the text of `/proc/cpuinfo`.
fn instructions(cpu: &str) -> Vec<String> {
    let flags = field(cpu, "flags", ':').or_else(|| field(cpu, "Features", ':')).unwrap_or_default();
    let flags: BTreeSet<&str> = flags.split_whitespace().collect();
    INSTRUCTIONS.into_iter().filter(|name| flags.contains(name)).map(str::to_owned).collect()
}

/// Bytes of memory by the texts of `/proc/meminfo` and of the control group's limit.
fn memory(info: &str, limit: &str) -> Option<u64> {
    let kibibytes = field(info, "MemTotal", ':')?.split_whitespace().next()?.parse::<u64>().ok()?;
    let limit = limit.trim().parse::<u64>().unwrap_or(u64::MAX);
    Some((kibibytes << 10).min(limit))
}

/// The models of the GPUs that NVIDIA's driver names, each once.
fn gpus() -> Vec<String> {
    let entries = fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path().join("information")).ok());
    let models: BTreeSet<String> = texts.filter_map(|text| field(&text, "Model", ':').map(str::to_owned)).collect();
    models.into_iter().collect()
}
