//! From what was typed to what is ready to run: everything that can be refused is refused here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rlar_data::{Document, Example, Needs, Preference, read_examples, read_preferences};
use rlar_grpo::{Agent, Config, Method, Unadmitted};
use rlar_net::hub::{Hub, HubSettings};
use rlar_net::web::{Brave, SerpApi, WebSearch};
use rlar_rewards::agents::Agents;
use rlar_rewards::agents::client::LlmClient;
use rlar_rewards::{Assignment, Library, LlmConfig, Orchestrator, OrchestratorConfig, ToolContext};
use rlar_sandbox::{Limits, Packages};

use crate::assets;
use crate::cli;

/// A checked config and the data that it names.
pub struct Plan {
    pub config: Config,
    pub config_path: PathBuf,
    pub train: Vec<Example>,
    /// How many of them each domain has.
    pub sizes: Vec<usize>,
    pub heldout: Vec<Example>,
    pub demonstrations: Vec<Example>,
    pub preferences: Vec<Preference>,
    pub heldout_preferences: Vec<Preference>,
}

/// Reads and checks the config, with what the command line changes in it, and all of its data.
pub fn plan(chosen: &cli::Chosen, adjust: impl FnOnce(&mut Config)) -> Result<Plan> {
    let asset = assets::config(&chosen.config)?;
    let document = Document::parse(&asset.path, &asset.text)?;
    let mut config: Config = document.check(&Config::schema())?;
    if let Some(seed) = chosen.seed {
        config.seed = seed;
    }
    if let Some(run) = &chosen.run {
        config.run.folder = run.to_string_lossy().into_owned();
    }
    if let Some(model) = &chosen.model {
        start_from(&mut config, model.to_string_lossy().into_owned());
    }
    adjust(&mut config);
    document.reject(config.problems().into_iter().map(|p| (p.key, p.message)).collect())?;
    if let Err(e) = rlar_policy::ComputeDevice::with_precision(&config.device, config.precision) {
        let key = if rlar_policy::ComputeDevice::new(&config.device).is_ok() { "precision" } else { "device" };
        document.reject(vec![(key.into(), e.to_string())])?;
    }
    let find = |key: &str, name: Option<&str>| -> Result<Option<assets::Asset>> {
        let Some(name) = name else { return Ok(None) };
        let found = assets::data(&asset.path, name)?;
        if found.is_none() {
            let message =
                format!("{name} is neither on disk (as given, beside the config, one folder up) nor embedded");
            document.reject(vec![(key.to_owned(), message)])?;
        }
        Ok(found)
    };
    // Of every domain, one after the other.
    let examples = |wanted: bool, files: Vec<(String, Option<&str>)>, needs| -> Result<Vec<Vec<Example>>> {
        let read = |(key, name): (String, Option<&str>)| match find(&key, name.filter(|_| wanted))? {
            Some(data) => Ok(read_examples(&data.path, &data.text, needs)?),
            None => Ok(Vec::new()),
        };
        files.into_iter().map(read).collect()
    };
    let pairs = |key: &str, name: Option<&str>| -> Result<Vec<Preference>> {
        let Some(data) = find(key, name)? else { return Ok(Vec::new()) };
        Ok(read_preferences(&data.path, &data.text)?)
    };
    let data = &config.data;
    let prefers = config.train.method == Method::RewardModel;
    let imitates = config.warmup.steps > 0 || config.train.method == Method::Sft;
    let is_grpo = config.train.method == Method::Grpo;
    let train = examples(is_grpo, data.files("train", &data.train, |d| &d.train), Needs::Prompt)?;
    let heldout = examples(!prefers, data.files("heldout", &data.heldout, |d| &d.heldout), Needs::Prompt)?;
    let shown = data.files("demonstrations", &data.demonstrations, |d| &d.demonstrations);
    let shown = examples(imitates, shown, Needs::Demonstration)?;
    let sizes = train.iter().map(Vec::len).collect();
    let train = train.concat();
    let preferred =
        |name: &'static str, file: &Option<String>| pairs(&format!("data.{name}"), file.as_deref().filter(|_| prefers));
    let t = &config.train;
    if !train.is_empty() && train.len() < t.prompts && !train.len().is_multiple_of(t.minibatches) {
        let message = format!("{} does not divide the {} prompts of `data.train`", t.minibatches, train.len());
        document.reject(vec![("train.minibatches".into(), message)])?;
    }
    let plan = Plan {
        train,
        sizes,
        heldout: heldout.concat(),
        demonstrations: shown.concat(),
        preferences: preferred("preferences", &data.preferences)?,
        heldout_preferences: preferred("heldout", &data.heldout)?,
        config_path: asset.path.clone(),
        config: config.clone(),
    };
    Ok(plan)
}

/// The plan of measuring a policy, and whether the config trains a reward model. Without a model of its own on the command line, a
/// config stands for what its run made.
pub fn to_measure(chosen: &cli::Chosen) -> (Result<Plan>, bool) {
    let mut prefers = false;
    let plan = plan(chosen, |config| {
        prefers = config.train.method == Method::RewardModel;
        // Measuring needs nothing that only training does.
        config.train.method = Method::Grpo;
        config.warmup.steps = 0;
        config.data.train.clone_from(&config.data.heldout);
        config.data.mixture.iter_mut().for_each(|domain| domain.train.clone_from(&domain.heldout));
        if chosen.model.is_none() {
            start_from(config, format!("{}/final", config.run.folder));
        }
    });
    let found = plan.and_then(|p| match chosen.model {
        Some(_) => p.find_model(),
        None => p.find_model().context("the run has no final policy: train first, or pass --model"),
    });
    (found, prefers)
}

/// Makes a config start from a model on disk instead of what it says.
pub fn start_from(config: &mut Config, model: String) {
    config.model.path = Some(model);
    config.model.scratch = None;
    config.warmup.steps = 0;
}

impl Plan {
    /// Finds the model that the config names, where it names one.
    pub fn find_model(mut self) -> Result<Self> {
        if let Some(path) = &mut self.config.model.path {
            if let Some(policy) = assets::policy_of_run(Path::new(path)) {
                bail!("{path} is a run; its model is {}", policy.display());
            }
            match assets::beside(&self.config_path, path) {
                Some(found) => *path = found.to_string_lossy().into_owned(),
                None => bail!("model {path} does not exist; a Hugging Face folder or a GGUF file is expected there"),
            }
        }
        Ok(self)
    }
}

/// The tools of a folder, or rlar's own.
pub fn library(folder: Option<&Path>) -> Result<Library> {
    match folder {
        Some(folder) => Library::load(folder).with_context(|| format!("library {}", folder.display())),
        None => Ok(Library::curated()?),
    }
}

/// What tools run with, as a config says.
pub fn means(plan: &Plan) -> Result<ToolContext> {
    let config = &plan.config;
    let exchanges = |name: &str| {
        let found = assets::exchanges(&plan.config_path, name)?;
        Ok((found.path, found.text.into_owned()))
    };
    let hub = HubSettings::from_env(|name| std::env::var(name).ok()).ok().and_then(|s| Hub::new(s).ok());
    let limits = Limits { wall: Duration::from_secs_f64(config.rewards.deadline), ..Limits::default() };
    let r = &config.rewards;
    Ok(ToolContext {
        packages: Packages { allowed: r.packages.clone(), cache: None },
        device: r.device.clone(),
        llm: r.llm.as_ref().map(|llm| llm.open(&exchanges)).transpose()?,
        hub,
        ..ToolContext::new(limits)
    })
}

/// The agents that a config asks for.
pub fn agents(config: &Config, means: &ToolContext) -> Result<Agents> {
    let r = &config.rewards;
    let llm = means.llm.clone().map(LlmClient::new);
    let hub = match &r.hub {
        Some(hub) => {
            let settings = HubSettings::from_env(|name| std::env::var(name).ok())?;
            Some((Hub::new(settings)?, hub.clone()))
        }
        None => None,
    };
    let mut webs: Vec<Box<dyn WebSearch>> = Vec::new();
    if r.hub.as_ref().is_some_and(|h| h.web) {
        let env = |name: &str| std::env::var(name).ok();
        // Those that have no key are not searched.
        webs.extend(SerpApi::from_env(env).ok().map(|s| Box::new(s) as Box<dyn WebSearch>));
        webs.extend(Brave::from_env(env).ok().map(|s| Box::new(s) as Box<dyn WebSearch>));
    }
    let secrets = r.llm.as_ref().map(LlmConfig::secrets).unwrap_or_default();
    Ok(Agents { llm, hub, webs, context: means.clone(), secrets })
}

/// The orchestrator that a config describes, and the agents that work beside its training.
pub fn orchestrator(plan: &Plan) -> Result<(Orchestrator, Option<Agents>)> {
    let (config, means) = (&plan.config, means(plan)?);
    let r = &config.rewards;
    let works = r.agent == Agent::Llm || r.evolve.is_some();
    let agents = works.then(|| agents(config, &means)).transpose()?;
    let choosing = OrchestratorConfig {
        allow_unadmitted: r.unadmitted == Unadmitted::Allow,
        // The agents may find a tool later.
        allow_uncovered: r.evolve.is_some(),
        always: r.always.clone(),
        audit: r.audit.tools.clone(),
    };
    let mut orchestrator = Orchestrator::new(library(r.library.as_deref().map(Path::new))?, means, choosing);
    for (domain, members) in &r.assign {
        let (by, why) = ("config".into(), format!("`rewards.assign` gives them to `{domain}`"));
        orchestrator.assign_domain(domain, Assignment { example: domain.clone(), tools: members.clone(), by, why });
    }
    for tool in &r.audit.tools {
        orchestrator.open(tool).context("`rewards.audit`")?;
    }
    Ok((orchestrator, agents))
}

/// Refuses prompts that no tool may score, before any work is lost to them.
pub fn check_tools(plan: &Plan, rewards: &Orchestrator) -> Result<()> {
    let data = &plan.config.data;
    for (key, file, examples) in [("train", &data.train, &plan.train), ("heldout", &data.heldout, &plan.heldout)] {
        for example in examples {
            rewards
                .choose(example)
                .with_context(|| file.clone().unwrap_or_else(|| format!("`data.mixture`, {key}")))?;
        }
    }
    Ok(())
}
