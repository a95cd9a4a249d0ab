//! What a command needs before it starts: a checked config, the data that it names, and reward tools.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rlar_data::{Document, Example, KeyProblem, Needs, Preference, read_examples, read_preferences};
use rlar_grpo::{Agent, Config, Method, Unadmitted};
use rlar_net::hub::{Hub, HubSettings};
use rlar_net::web::{Brave, SerpApi, WebSearch};
use rlar_rewards::agents::Agents;
use rlar_rewards::agents::client::LlmClient;
use rlar_rewards::{Assignment, Library, LlmConfig, Orchestrator, OrchestratorConfig, ToolContext};
use rlar_sandbox::{Packages, SandboxLimits};

use crate::assets;
use crate::cli::ConfigArguments;

/// A checked config and the data that it names.
pub struct LoadedConfig {
    /// The config, with the overrides of the command line.
    pub config: Config,
    /// Path of the config's file; files that the config names are looked for beside it.
    pub path: PathBuf,
    /// Prompts to train on; empty unless the method is GRPO.
    pub train: Vec<Example>,
    /// Number of prompts in `train` for each domain of `data.mixture`; a single number if the config has no mixture.
    pub sizes: Vec<usize>,
    /// Prompts to evaluate on; empty for reward models.
    pub heldout: Vec<Example>,
    /// Prompts with replies to imitate; empty without supervised fine-tuning.
    pub demonstrations: Vec<Example>,
    /// Pairs of replies to train a reward model on; empty for policies.
    pub preferences: Vec<Preference>,
    /// Pairs of replies to evaluate a reward model on; empty for policies.
    pub heldout_preferences: Vec<Preference>,
}

/// Reads and checks a config and all data that the config names. `adjust` applies a command's own overrides, or refuses
/// the config.
pub fn load(arguments: &ConfigArguments, adjust: impl FnOnce(&mut Config) -> Result<()>) -> Result<LoadedConfig> {
    let asset = assets::config(&arguments.config)?;
    let document = Document::parse(&asset.path, &asset.text)?;
    let mut config: Config = document.check(&Config::schema())?;
    document.reject(config.expand_paths())?;
    if let Some(seed) = arguments.seed {
        config.seed = seed;
    }
    if let Some(run) = &arguments.run {
        config.run.folder = run.to_string_lossy().into_owned();
    }
    if let Some(model) = &arguments.model {
        start_from(&mut config, model.to_string_lossy().into_owned());
    }
    adjust(&mut config)?;
    document.reject(config.problems())?;
    document.reject(config.device_problems())?;

    let data = &config.data;
    let files = DataFiles { document: &document, config_path: &asset.path };
    let is_reward_model = config.train.method == Method::RewardModel;
    let is_grpo = config.train.method == Method::Grpo;
    let is_imitated = config.warmup.steps > 0 || config.train.method == Method::Sft;
    let train = files.examples(is_grpo, data.files("train", &data.train, |d| &d.train), Needs::Prompt)?;
    let heldout = data.files("heldout", &data.heldout, |d| &d.heldout);
    let heldout = files.examples(!is_reward_model, heldout, Needs::Prompt)?;
    let demonstrations = data.files("demonstrations", &data.demonstrations, |d| &d.demonstrations);
    let demonstrations = files.examples(is_imitated, demonstrations, Needs::Demonstration)?;
    let sizes = train.iter().map(Vec::len).collect();
    let train = train.concat();
    document.reject(config.data_problems(train.len()))?;
    Ok(LoadedConfig {
        train,
        sizes,
        heldout: heldout.concat(),
        demonstrations: demonstrations.concat(),
        preferences: files.pairs(is_reward_model, "data.preferences", data.preferences.as_deref())?,
        heldout_preferences: files.pairs(is_reward_model, "data.heldout", data.heldout.as_deref())?,
        path: asset.path.clone(),
        config: config.clone(),
    })
}

/// Finds and reads the data files that a config names.
struct DataFiles<'a> {
    document: &'a Document<'a>,
    config_path: &'a Path,
}

impl DataFiles<'_> {
    /// The examples of each file; an empty list for a file that is not used or not named.
    fn examples(&self, is_used: bool, files: Vec<(String, Option<&str>)>, needs: Needs) -> Result<Vec<Vec<Example>>> {
        let mut examples = Vec::with_capacity(files.len());
        for (key, name) in files {
            examples.push(match self.find(is_used, &key, name)? {
                Some(data) => read_examples(&data.path, &data.text, needs)?,
                None => Vec::new(),
            });
        }
        Ok(examples)
    }

    /// The pairs of replies in a file; empty if the file is not used or not named.
    fn pairs(&self, is_used: bool, key: &str, name: Option<&str>) -> Result<Vec<Preference>> {
        match self.find(is_used, key, name)? {
            Some(data) => Ok(read_preferences(&data.path, &data.text)?),
            None => Ok(Vec::new()),
        }
    }

    /// A data file; `None` if it is not used or not named. If it does not exist, the error names the line of the
    /// config's `key`.
    fn find(&self, is_used: bool, key: &str, name: Option<&str>) -> Result<Option<assets::Asset>> {
        let Some(name) = name.filter(|_| is_used) else { return Ok(None) };
        let found = assets::data(self.config_path, name)?;
        if found.is_none() {
            let message =
                format!("{name} is neither on disk (as given, beside the config, one folder up) nor embedded");
            self.document.reject(vec![KeyProblem::new(key, message)])?;
        }
        Ok(found)
    }
}

/// Loads a config to evaluate a policy: `--model`, or else the final policy of the config's run. `check` may refuse the
/// config.
pub fn load_for_eval(arguments: &ConfigArguments, check: impl FnOnce(&Config) -> Result<()>) -> Result<LoadedConfig> {
    let loaded = load(arguments, |config| {
        check(config)?;
        // Nothing that only training needs is read or checked.
        config.train.method = Method::Grpo;
        config.warmup.steps = 0;
        config.data.train.clone_from(&config.data.heldout);
        config.data.mixture.iter_mut().for_each(|domain| domain.train.clone_from(&domain.heldout));
        if arguments.model.is_none() {
            start_from(config, format!("{}/final", config.run.folder));
        }
        Ok(())
    })?;
    match arguments.model {
        Some(_) => loaded.find_model(),
        None => loaded.find_model().context("the run has no final policy: train first, or pass --model"),
    }
}

/// Makes a config start from a model on disk, without the supervised warm-up.
fn start_from(config: &mut Config, model: String) {
    config.model.path = Some(model);
    config.model.scratch = None;
    config.warmup.steps = 0;
}

impl LoadedConfig {
    /// Resolves the path of the config's model, if it has one: as given, beside the config, then one folder up.
    pub fn find_model(mut self) -> Result<Self> {
        if let Some(path) = &mut self.config.model.path {
            if let Some(policy) = assets::policy_of_run(Path::new(path)) {
                bail!("{path} is a run; its model is {}", policy.display());
            }
            match assets::beside(&self.path, path) {
                Some(found) => *path = found.to_string_lossy().into_owned(),
                None => bail!("model {path} does not exist; a Hugging Face folder or a GGUF file is expected there"),
            }
        }
        Ok(self)
    }
}

/// The tools in a folder; without a folder, those built into rlar.
pub fn library(folder: Option<&Path>) -> Result<Library> {
    match folder {
        Some(folder) => Library::load(folder).with_context(|| format!("library {}", folder.display())),
        None => Ok(Library::curated()?),
    }
}

/// What a config's tools run with: limits, packages, device, language model and model hub.
pub fn tool_context(loaded: &LoadedConfig) -> Result<ToolContext> {
    let rewards = &loaded.config.rewards;
    let exchanges = |name: &str| {
        let found = assets::exchanges(&loaded.path, name)?;
        Ok((found.path, found.text.into_owned()))
    };
    let limits = SandboxLimits { wall: Duration::from_secs_f64(rewards.deadline), ..SandboxLimits::default() };
    Ok(ToolContext {
        packages: Packages { allowed: rewards.packages.clone(), cache: None },
        device: rewards.device.clone(),
        llm: rewards.llm.as_ref().map(|llm| llm.open(&exchanges)).transpose()?,
        hub: HubSettings::from_env(environment).ok().and_then(|s| Hub::new(s).ok()),
        ..ToolContext::new(limits)
    })
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The agents that a config asks for, which find and choose reward tools.
pub fn agents(config: &Config, context: &ToolContext) -> Result<Agents> {
    let rewards = &config.rewards;
    let hub = match &rewards.hub {
        Some(hub) => Some((Hub::new(HubSettings::from_env(environment)?)?, hub.clone())),
        None => None,
    };
    let mut webs: Vec<Box<dyn WebSearch>> = Vec::new();
    if rewards.hub.as_ref().is_some_and(|hub| hub.web) {
        // Search engines without a key in the environment are left out.
        webs.extend(SerpApi::from_env(environment).ok().map(|s| Box::new(s) as Box<dyn WebSearch>));
        webs.extend(Brave::from_env(environment).ok().map(|s| Box::new(s) as Box<dyn WebSearch>));
    }
    Ok(Agents {
        llm: context.llm.clone().map(LlmClient::new),
        hub,
        webs,
        context: context.clone(),
        secrets: rewards.llm.as_ref().map(LlmConfig::secrets).unwrap_or_default(),
    })
}

/// The orchestrator of reward tools that a config describes, and the agents that run during training if the config asks
/// for any.
pub fn orchestrator(loaded: &LoadedConfig) -> Result<(Orchestrator, Option<Agents>)> {
    let (config, context) = (&loaded.config, tool_context(loaded)?);
    let rewards = &config.rewards;
    let needs_agents = rewards.agent == Agent::Llm || rewards.evolve.is_some();
    let agents = needs_agents.then(|| agents(config, &context)).transpose()?;
    let library = library(rewards.library.as_deref().map(Path::new))?;
    let options = OrchestratorConfig {
        allow_unadmitted: rewards.unadmitted == Unadmitted::Allow,
        // The agents may find a tool during training for a prompt that no tool fits now.
        allow_uncovered: rewards.evolve.is_some(),
        always: rewards.always.clone(),
        audit: rewards.audit.tools.clone(),
    };
    let mut orchestrator = Orchestrator::new(library, context, options);
    for (domain, members) in &rewards.assign {
        let (by, why) = ("config".into(), format!("`rewards.assign` gives them to `{domain}`"));
        orchestrator.assign_domain(domain, Assignment { example: domain.clone(), tools: members.clone(), by, why });
    }
    for tool in &rewards.audit.tools {
        orchestrator.open(tool).context("`rewards.audit`")?;
    }
    Ok((orchestrator, agents))
}

/// Refuses prompts that no tool may score, before the job starts.
pub fn check_tools(loaded: &LoadedConfig, rewards: &Orchestrator) -> Result<()> {
    let data = &loaded.config.data;
    for (key, file, examples) in [("train", &data.train, &loaded.train), ("heldout", &data.heldout, &loaded.heldout)] {
        for example in examples {
            rewards
                .choose(example)
                .with_context(|| file.clone().unwrap_or_else(|| format!("`data.mixture`, {key}")))?;
        }
    }
    Ok(())
}
