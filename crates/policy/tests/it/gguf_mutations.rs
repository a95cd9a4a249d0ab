//! Mutated GGUF files: each is read or refused, without a panic, a hang, or more memory than a bound.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rlar_policy::gguf::Gguf;
use rlar_policy::{ComputeDevice, Policy, PolicyError, Tokenizer};

use crate::ggufs::file;

/// The variable that names the folder of the process that reads the files.
const FOLDER: &str = "RLAR_TEST_MUTATIONS";
/// Longest time for a file, and for a hundred of them.
const DEADLINE: Duration = Duration::from_mins(1);
/// Largest address space of the process, in KiB: beyond it, an allocation fails, which ends the process.
const ADDRESS_SPACE: u64 = 4 << 20;
/// Memory that mutated files may take in addition to that of the unchanged ones, in KiB.
const MEMORY: u64 = 128 << 10;
/// The fixtures that are mutated, the largest of which has 64 KB.
const FIXTURES: [&str; 11] = [
    "llama",
    "llama_mha_tied",
    "qwen2",
    "qwen3",
    "gemma3",
    "gpt2",
    "../formats",
    "pre-tokenizers",
    "tokenizer-llama-bpe",
    "tokenizer-sentencepiece",
    "tokenizer-gpt-2",
];

/// Number of mutated files, which `RLAR_MUTATIONS` sets.
fn files() -> u64 {
    std::env::var("RLAR_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000)
}

/// A number in a header: a count, a length, a dimension, an offset, the number of a type, or a value.
struct Field {
    at: usize,
    bytes: usize,
}

/// A GGUF file, with the numbers of its header.
struct Fixture {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    /// Number of bytes of the header.
    header: usize,
}

/// Walks through the header of a valid file.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: Vec<Field>,
}

impl Walk<'_> {
    fn number(&mut self, bytes: usize) -> u64 {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(&self.bytes[self.at..self.at + bytes]);
        self.fields.push(Field { at: self.at, bytes });
        self.at += bytes;
        u64::from_le_bytes(number)
    }

    fn text(&mut self) {
        self.at += self.number(8) as usize;
    }

    fn value(&mut self, kind: u64) {
        match kind {
            0 | 1 | 7 => self.at += 1,
            2 | 3 => self.at += 2,
            4..=6 => {
                self.number(4);
            }
            8 => self.text(),
            9 => {
                let (kind, n) = (self.number(4), self.number(8));
                for i in 0..n {
                    let known = self.fields.len();
                    self.value(kind);
                    // The first elements stand for all, so that lists do not crowd out the rest of the header.
                    if i >= 3 {
                        self.fields.truncate(known);
                    }
                }
            }
            _ => {
                self.number(8);
            }
        }
    }
}

impl Fixture {
    fn read(name: &str) -> Self {
        let bytes = fs::read(file(name)).unwrap();
        let mut walk = Walk { bytes: &bytes, at: 4, fields: Vec::new() };
        walk.number(4);
        let (tensors, values) = (walk.number(8), walk.number(8));
        for _ in 0..values {
            walk.text();
            let kind = walk.number(4);
            walk.value(kind);
        }
        for _ in 0..tensors {
            walk.text();
            let rank = walk.number(4);
            for _ in 0..rank {
                walk.number(8);
            }
            walk.number(4);
            walk.number(8);
        }
        let Walk { at: header, fields, .. } = walk;
        Self { bytes, fields, header }
    }
}

/// One of some things.
fn one<'a, T>(rng: &mut ChaCha8Rng, of: &'a [T]) -> &'a T {
    &of[rng.random_range(0..of.len())]
}

/// A number as a lying header has it, for a field of a file of `size` bytes.
fn lie(rng: &mut ChaCha8Rng, truth: u64, size: usize) -> u64 {
    let size = size as u64;
    let near = [truth.wrapping_add(1), truth.wrapping_sub(1), truth.wrapping_mul(2), truth ^ (1 << 31), truth << 32];
    let fixed = [
        0,
        1,
        2,
        3,
        9,
        31,
        32,
        255,
        1 << 16,
        1 << 24,
        i32::MAX as u64,
        1 << 31,
        u64::from(u32::MAX),
        1 << 32,
        1 << 40,
        i64::MAX as u64,
        1 << 63,
        u64::MAX,
        size,
        size - 1,
        size / 2,
    ];
    match rng.random_range(0..4) {
        0 => *one(rng, &near),
        1 => rng.random_range(0..64),
        _ => *one(rng, &fixed),
    }
}

/// A mutated file; the same for the same seed.
fn mutated(seed: u64, fixtures: &[Fixture]) -> Vec<u8> {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let fixture = one(rng, fixtures);
    let mut bytes = fixture.bytes.clone();
    match rng.random_range(0..6) {
        // Bytes change, most of them in the header.
        0 => {
            for _ in 0..rng.random_range(1..=8) {
                let end = if rng.random_range(0..4) > 0 { fixture.header } else { bytes.len() };
                let at = rng.random_range(0..end);
                bytes[at] ^= rng.random_range(1..=255u8);
            }
        }
        // The file ends early.
        1 => bytes.truncate(rng.random_range(0..bytes.len())),
        // Numbers of the header lie.
        2 | 3 => {
            for _ in 0..rng.random_range(1..=2) {
                let field = one(rng, &fixture.fields);
                let place = field.at..field.at + field.bytes;
                let mut truth = [0; 8];
                truth[..field.bytes].copy_from_slice(&bytes[place.clone()]);
                let lie = lie(rng, u64::from_le_bytes(truth), bytes.len());
                bytes[place].copy_from_slice(&lie.to_le_bytes()[..field.bytes]);
            }
        }
        // The beginning of a file, and the rest of another.
        4 => {
            let other = one(rng, fixtures);
            bytes.truncate(one(rng, &fixture.fields).at);
            bytes.extend(&other.bytes[one(rng, &other.fields).at..]);
        }
        // A part of the header is there twice, or is missing.
        _ => {
            let mut ends = [one(rng, &fixture.fields).at, one(rng, &fixture.fields).at];
            ends.sort_unstable();
            let part = bytes[ends[0]..ends[1]].to_vec();
            let again = if rng.random() { [&part[..], &part].concat() } else { Vec::new() };
            bytes.splice(ends[0]..ends[1], again);
        }
    }
    bytes
}

/// Reads a file in every way.
fn read(path: &Path, cpu: &ComputeDevice) -> Result<(), PolicyError> {
    let gguf = Gguf::open(path)?;
    for name in gguf.names() {
        gguf.tensor(name)?;
        gguf.quantised(name)?;
    }
    let tokenizer = Tokenizer::from_gguf(path, &gguf)?;
    tokenizer.decode(&tokenizer.encode("It's 12 naïve  日本\n\tw1 w")?)?;
    Policy::load(path, cpu)?;
    Policy::load_frozen(path, cpu)?;
    Ok(())
}

/// The most memory that this process has had so far, in KiB.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The body of the process of the next test; without the variable it does nothing.
#[test]
fn a_process_reads_mutations() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let cpu = ComputeDevice::new("cpu").unwrap();
    let fixtures = FIXTURES.map(Fixture::read);
    for name in FIXTURES {
        // Files of tokenizers have no model.
        let _ = read(&file(name), &cpu);
    }
    let before = peak_memory();
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..files() {
        let path = Path::new(&folder).join(format!("{seed}.gguf"));
        fs::write(&path, mutated(seed, &fixtures)).unwrap();
        let began = Instant::now();
        match read(&path, &cpu) {
            Ok(()) => accepted += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
        let (time, memory) = (began.elapsed(), peak_memory() - before);
        assert!(time < DEADLINE, "{}: {time:?}", path.display());
        assert!(memory < MEMORY, "{}: {memory} KiB", path.display());
        fs::remove_file(&path).unwrap();
        if seed % 100 == 0 {
            std::io::stdout().write_all(b".\n").unwrap();
        }
    }
    assert!(accepted > files() / 1000 && refused > files() / 4, "{accepted} files were read, {refused} refused");
}

#[test]
fn a_mutated_file_is_read_or_refused_without_a_panic_a_hang_or_memory() {
    let folder = tempfile::tempdir().unwrap();
    let errors = folder.path().join("errors.txt");
    let limited = format!("ulimit -v {ADDRESS_SPACE} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limited]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "gguf_mutations::a_process_reads_mutations", "--nocapture"]);
    // One heap and one thread: each would reserve address space of its own.
    command.env(FOLDER, folder.path()).env("MALLOC_ARENA_MAX", "1").env("RAYON_NUM_THREADS", "1");
    let mut child = command.stdout(Stdio::piped()).stderr(File::create(&errors).unwrap()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in lines {
            let _ = sender.send(line);
        }
    });
    let mut printed = String::new();
    let end = loop {
        match receiver.recv_timeout(DEADLINE) {
            Ok(line) => printed.extend([line.unwrap_or_default(), "\n".into()]),
            Err(end) => break end,
        }
    };
    if end == mpsc::RecvTimeoutError::Timeout {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    reader.join().unwrap();
    let errors = fs::read_to_string(errors).unwrap();
    assert!(printed.contains(".\n"), "the process read no file: {status}, {errors}");
    if end == mpsc::RecvTimeoutError::Timeout || !status.success() {
        // The file that the process was reading is kept.
        let names = fs::read_dir(folder.keep()).unwrap().map(|entry| entry.unwrap().path());
        let left: Vec<PathBuf> = names.filter(|path| path.extension().is_some_and(|end| end == "gguf")).collect();
        panic!("{end:?}, {status}, while it read {left:?}: {errors}");
    }
}
