//! Fills a library folder with the tools that a data set needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use rlar_data::Example;
use rlar_run::write_atomic;

use crate::admission::Status;
use crate::agent::BuiltinAgent;
use crate::composite::Member;
use crate::court::examine;
use crate::library::{ADMISSION, Library};
use crate::{Means, Orchestrator, RewardError};

/// What happened to one tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// The tool.
    pub tool: String,
    /// Content hash.
    pub identity: String,
    /// Examples that it was chosen for.
    pub examples: usize,
    /// Why it was chosen, for the first of them.
    pub why: String,
}

/// Chooses tools for every example, proves that each starts, and writes their folders below `folder`.
/// Tools with other contents that stand there already are left alone and reported as an error.
/// `sources` are addresses of further cards (`…/tool.yaml`) to take into account; tools that every example has beside the
/// chosen ones are written, too.
pub fn fetch_rewards(
    folder: &Path,
    examples: &[Example],
    sources: &[String],
    always: &[Member],
    means: Means,
) -> Result<Vec<Fetched>, RewardError> {
    let mut library = Library::curated()?;
    for source in sources {
        fetch_card(&mut library, source)?;
    }
    library.check_parts()?;
    let mut chosen: BTreeMap<String, (Vec<Example>, String)> = BTreeMap::new();
    for example in examples {
        let assignment = BuiltinAgent.assign(example, library.cards())?;
        for choice in assignment.tools {
            let of = chosen.entry(choice.tool).or_insert_with(|| (Vec::new(), assignment.why.clone()));
            of.0.push(example.clone());
        }
    }
    let wanted: BTreeSet<&String> = chosen.keys().chain(always.iter().map(|m| &m.tool)).collect();
    let mut orchestrator = Orchestrator::new(library, means);
    for name in wanted {
        let known = orchestrator.library().admission(name).is_some();
        if known {
            orchestrator.open(name)?;
        } else {
            let tool = orchestrator.on_trial(name)?;
            let admission = examine(&tool, chosen.get(name).map_or(examples, |of| &of.0), &[])?;
            if admission.status == Status::Refused {
                let why: Vec<String> =
                    admission.failed().take(3).map(|p| format!("{}: {}", p.name, p.evidence)).collect();
                let message = format!("was refused; it does not show that it {}", why.join("; "));
                return Err(RewardError::tool(name, message));
            }
            orchestrator.admit(name, admission);
        }
        for name in orchestrator.library().with_parts(name) {
            write_tool(folder, &name, orchestrator.library())?;
        }
    }
    let library = orchestrator.library();
    let report = |(tool, (examples, why)): (String, (Vec<Example>, String))| {
        let examples = examples.len();
        let identity = library.identity(&tool).unwrap_or_default();
        Fetched { tool, identity, examples, why }
    };
    Ok(chosen.into_iter().map(report).collect())
}

fn write_tool(folder: &Path, name: &str, library: &Library) -> Result<(), RewardError> {
    let home = folder.join(name);
    fs::create_dir_all(&home).map_err(RewardError::io(&home))?;
    for (file, contents) in library.files(name) {
        let path = home.join(&file);
        match fs::read_to_string(&path) {
            Ok(there) if there == contents || file == ADMISSION => continue,
            Ok(_) => {
                let message = format!("{} was edited; move it away to fetch it again", path.display());
                return Err(RewardError::tool(name, message));
            }
            Err(_) => {}
        }
        write_atomic(&path, contents.as_bytes()).map_err(|e| RewardError::tool(name, e.to_string()))?;
    }
    Ok(())
}

/// Longest card or verifier that is downloaded.
const LONGEST: u64 = 1 << 20;

fn fetch_card(library: &mut Library, address: &str) -> Result<(), RewardError> {
    let deadline = Duration::from_secs(30);
    let text = rlar_net::get_text(address, LONGEST, deadline)?;
    let card = crate::ToolCard::parse(Path::new(address), &text)?;
    let source = match &card.file {
        Some(file) => {
            let base = address.rsplit_once('/').map_or(address, |(base, _)| base);
            rlar_net::get_text(&format!("{base}/{file}"), LONGEST, deadline)?
        }
        None => String::new(),
    };
    library.add(Path::new(address), text, source, None)
}
