//! What a command needs before it starts: a checked config, the data that it names, and reward tools.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use rlar_data::{DataFiles, Document, Example, ExampleList, KeyProblem, Needs, Preference};
use rlar_grpo::{Agent, Config, DataSet, FOREIGN_NAMES, Method, RewardsOnly, Unadmitted, WeightSource};
use rlar_net::hub::{Hub, HubSettings};
use rlar_net::web::{Brave, SerpApi, WebSearch};
use rlar_policy::ModelSource;
use rlar_rewards::agents::Agents;
use rlar_rewards::agents::client::LlmClient;
use rlar_rewards::{
    Assignment, Library, LlmConfig, Orchestrator, OrchestratorConfig, PythonFunction, RewardError, ToolContext, domain,
};
use rlar_sandbox::{FunctionSource, Packages, SandboxLimits};

use crate::cli::ConfigArguments;
use crate::error::message;
use crate::model::HubCommits;
use crate::training_data::TrainingData;
use crate::{assets, find, functions, language_model, model};

/// A checked config and the data that it names.
pub struct LoadedConfig {
    /// The config, with the overrides of the command line.
    pub config: Config,
    /// Path of the config's file; files that the config names are looked for beside it.
    pub path: PathBuf,
    /// The YAML of the config's file, in which messages look up the line of a key.
    text: Cow<'static, str>,
    /// Prompts to train on; empty unless the method is GRPO.
    pub train: ExampleList,
    /// Number of prompts in `train` for each domain of `data.mixture`; a single number if the config has no mixture.
    pub sizes: Vec<usize>,
    /// Prompts to evaluate a policy on; empty if a reward model is trained.
    pub heldout: Vec<Example>,
    /// Prompts with replies to imitate; empty unless the method is supervised fine-tuning or the config has a warm-up.
    pub demonstrations: Vec<Example>,
    /// Pairs of replies to train a reward model on; empty for policies.
    pub preferences: Vec<Preference>,
    /// Pairs of replies to evaluate a reward model on; empty for policies.
    pub heldout_preferences: Vec<Preference>,
    /// The source of each Python function of `rewards.python`; empty if a reward model is trained.
    pub functions: Vec<FunctionSource>,
    /// Where the model of `model.path` is; `None` before [`LoadedConfig::find_models`], and if the config names no model.
    pub model: Option<ModelSource>,
    /// Commits of models of the Hub, by their names in the config.
    pub hub_commits: HubCommits,
}

/// Reads and checks a config and all data that the config names. `adjust` applies a command's own overrides, or refuses
/// the config.
pub fn load(arguments: &ConfigArguments, adjust: impl FnOnce(&mut Config) -> Result<()>) -> Result<LoadedConfig> {
    load_with(arguments, adjust, &mut Err)
}

/// Like [`load`], but calls `on_error` with each error in the config's values or its data. If `on_error` returns `Ok`,
/// the checks go on, and data that could not be read are left empty.
pub fn load_with(
    arguments: &ConfigArguments,
    adjust: impl FnOnce(&mut Config) -> Result<()>,
    on_error: &mut OnError,
) -> Result<LoadedConfig> {
    let asset = assets::config(&arguments.config)?;
    let document = Document::parse(&asset.path, &asset.text)?.with_foreign_names(FOREIGN_NAMES);
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
    find_inputs(&mut config, &asset.path);
    let mut problems = config.problems();
    problems.extend(config.device_problems());
    or_default(document.reject(problems), on_error)?;

    let data = &config.data;
    let mut files = TrainingData::new(&document, &asset.path);
    let is_reward_model = config.train.method == Method::RewardModel;
    let is_grpo = config.train.method == Method::Grpo;
    let is_imitated = config.warmup.steps > 0 || config.train.method == Method::Sft;
    let (mut train, mut sizes) = (ExampleList::default(), Vec::new());
    for set in data.sets("train", &data.train, |d| &d.train) {
        let examples = or_default(files.example_list(is_grpo, &set, Needs::Prompt), on_error)?;
        sizes.push(examples.len());
        train.append(examples);
    }
    let mut examples = |is_used, sets: Vec<DataSet>, needs| -> Result<Vec<Vec<Example>>> {
        sets.into_iter().map(|set| or_default(files.examples(is_used, &set, needs), on_error)).collect()
    };
    let heldout = data.sets("heldout", &data.heldout, |d| &d.heldout);
    let heldout = examples(!is_reward_model, heldout, Needs::Prompt)?.concat();
    let demonstrations = data.sets("demonstrations", &data.demonstrations, |d| &d.demonstrations);
    let demonstrations = examples(is_imitated, demonstrations, Needs::Demonstration)?.concat();
    let mut pairs = |is_used, key, files_of_key: Option<&DataFiles>| {
        or_default(files.pairs(is_used, key, files_of_key, data.columns.as_ref()), on_error)
    };
    let is_learned_from = is_reward_model || config.rewards.weights == WeightSource::Learned;
    let preferences = pairs(is_learned_from, "data.preferences", data.preferences.as_ref())?;
    let heldout_preferences = pairs(is_reward_model, "data.heldout", data.heldout.as_ref())?;
    or_default(document.reject(config.data_problems(train.len())), on_error)?;
    // A function of the user's own knows how to read its references.
    if is_grpo && config.rewards.python.is_empty() {
        or_default(files.reject_unclear_references(&config.rewards.assign), on_error)?;
    }
    let python = if is_reward_model { &[][..] } else { &config.rewards.python };
    let functions = or_default(functions::read(&document, &asset.path, python), on_error)?;
    Ok(LoadedConfig {
        train,
        sizes,
        heldout,
        demonstrations,
        preferences,
        heldout_preferences,
        functions,
        model: None,
        hub_commits: HubCommits::new(),
        path: asset.path.clone(),
        text: asset.text.clone(),
        config: config.clone(),
    })
}

/// Reads and checks a config for its rewards alone, which another program trains with: a config of a job, whose data then
/// show what its functions are to score, or one with only `version` and `rewards`.
pub fn load_rewards(path: &Path) -> Result<LoadedConfig> {
    let asset = assets::config(path)?;
    // What is wrong with the YAML is said below, with its line.
    let keys: serde_yaml::Mapping = serde_yaml::from_str(&asset.text).unwrap_or_default();
    if keys.contains_key("model") || keys.contains_key("data") {
        let arguments = ConfigArguments { config: path.to_owned(), seed: None, run: None, model: None };
        return load(&arguments, |config| {
            // Nothing that only training needs is read or checked; the model is not loaded.
            config.train.method = Method::Grpo;
            start_from(config, format!("{}/final", config.run.folder));
            Ok(())
        });
    }
    let document = Document::parse(&asset.path, &asset.text)?.with_foreign_names(FOREIGN_NAMES);
    let rewards: RewardsOnly = document.check(&RewardsOnly::schema())?;
    let mut config = rewards.into_config()?;
    document.reject(config.expand_paths())?;
    find_inputs(&mut config, &asset.path);
    let mut problems = config.reward_problems();
    problems.extend(config.device_problems());
    document.reject(problems)?;
    let functions = functions::read(&document, &asset.path, &config.rewards.python)?;
    Ok(LoadedConfig {
        config,
        train: ExampleList::default(),
        sizes: vec![0],
        heldout: Vec::new(),
        demonstrations: Vec::new(),
        preferences: Vec::new(),
        heldout_preferences: Vec::new(),
        functions,
        model: None,
        hub_commits: HubCommits::new(),
        path: asset.path.clone(),
        text: asset.text.clone(),
    })
}

/// Replaces the paths of the tool library and of the agents' local model in the config by those at which they are
/// found. A path at which nothing is found stays as it is, because a library that does not exist may still be created.
fn find_inputs(config: &mut Config, config_path: &Path) {
    let rewards = &mut config.rewards;
    let local = rewards.llm.as_mut().and_then(|llm| llm.local.as_mut());
    for path in rewards.library.as_mut().into_iter().chain(local) {
        if let Some(found) = find::beside(config_path, path) {
            *path = found.to_string_lossy().into_owned();
        }
    }
}

/// A function that gets an error in a config or its data. It returns the error to stop, or keeps it and returns `Ok` to
/// go on with the checks.
pub type OnError<'e> = dyn FnMut(Error) -> Result<()> + 'e;

/// The value of a result. An error is passed to `on_error`: if that returns `Ok`, the default value is returned,
/// otherwise its error.
fn or_default<T: Default, E: Into<Error>>(result: Result<T, E>, on_error: &mut OnError) -> Result<T> {
    match result {
        Ok(value) => Ok(value),
        Err(error) => on_error(error.into()).map(|()| T::default()),
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
    let name = loaded.config.model.path.as_deref().unwrap_or_default();
    // The folder of a run is no name of a model on the Hub.
    if arguments.model.is_none() && find::beside(&loaded.path, name).is_none() {
        bail!("the run has no final policy: {name} does not exist; train first, or pass --model");
    }
    loaded.find_models(&HubCommits::new())
}

/// Makes a config start from a model on disk, without the supervised warm-up.
fn start_from(config: &mut Config, model: String) {
    config.model.path = Some(model);
    config.model.scratch = None;
    config.warmup.steps = 0;
}

impl LoadedConfig {
    /// Makes the error for a problem with the value of a config key. Its text names the key's line in the config's
    /// file.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Error {
        self.error(vec![KeyProblem::new(key, message)])
    }

    /// Makes the error for problems with the values of config keys. Its text names each key's line in the config's
    /// file.
    pub fn error(&self, problems: Vec<KeyProblem>) -> Error {
        match Document::parse(&self.path, &self.text) {
            Ok(document) => document.error(problems).into(),
            Err(error) => error.into(),
        }
    }

    /// Finds the model to start from and the local language model of `rewards.llm`, where the config names them: as
    /// given, beside the config, one folder up, otherwise on the Hub, from where they are downloaded. `pinned` gives the
    /// commits of models of the Hub that must not be taken at another commit.
    pub fn find_models(mut self, pinned: &HubCommits) -> Result<Self> {
        let mut commits = HubCommits::new();
        let mut find = |name: &str| -> Result<ModelSource> {
            let found = model::find_beside(&self.path, name, pinned)?;
            commits.extend(found.repository.iter().map(|repository| (name.to_owned(), repository.commit.clone())));
            Ok(found)
        };
        if let Some(name) = &self.config.model.path {
            let found = find(name)?;
            if found.repository.is_none() {
                self.config.model.path = Some(found.path.to_string_lossy().into_owned());
            }
            self.model = Some(found);
        }
        if let Some(name) = self.config.rewards.llm.as_ref().and_then(|llm| llm.local.as_ref()) {
            find(name).map_err(|error| self.problem(language_model::LOCAL, message(&error)))?;
        }
        self.hub_commits = commits;
        Ok(self)
    }
}

/// The tools in a folder; without a folder, those built into rlar.
pub fn library(folder: Option<&Path>) -> Result<Library> {
    match folder {
        Some(folder) if !folder.is_dir() => bail!(
            "the library {0} does not exist; `rlar fetch-rewards --config FILE --library {0}` fills one",
            folder.display()
        ),
        Some(folder) => Library::load(folder).with_context(|| format!("library {}", folder.display())),
        None => Ok(Library::curated()?),
    }
}

/// The tools of the library that a config names; without one, those built into rlar. The error for a library that does not
/// exist yet names the command that fills it.
pub fn configured_library(loaded: &LoadedConfig) -> Result<Library> {
    let folder = loaded.config.rewards.library.as_deref();
    if let Some(folder) = folder.filter(|folder| !Path::new(folder).is_dir()) {
        let config = loaded.path.strip_prefix("embedded/configs").unwrap_or(&loaded.path).display();
        bail!(
            "the library {folder} does not exist yet; run this first, it fills the library: `rlar fetch-rewards --config \
             {config} --library {folder}`"
        );
    }
    library(folder.map(Path::new))
}

/// What a config's tools run with: limits, packages, device, language model and model hub.
pub fn tool_context(loaded: &LoadedConfig) -> Result<ToolContext> {
    let rewards = &loaded.config.rewards;
    let limits = SandboxLimits { wall: Duration::from_secs_f64(rewards.deadline), ..SandboxLimits::default() };
    Ok(ToolContext {
        packages: Packages { allowed: rewards.packages.clone(), cache: None },
        device: rewards.device.clone(),
        llm: rewards.llm.as_ref().map(|llm| language_model::open(loaded, llm)).transpose()?,
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
/// for any. `earlier` is the folder of an earlier run; functions that it examined are not examined again.
pub fn orchestrator(loaded: &LoadedConfig, earlier: Option<&Path>) -> Result<(Orchestrator, Option<Agents>)> {
    let (config, mut context) = (&loaded.config, tool_context(loaded)?);
    let rewards = &config.rewards;
    let needs_agents = rewards.agent == Agent::Llm || rewards.evolve.is_some();
    let agents = needs_agents.then(|| agents(config, &context)).transpose()?;
    let mut library = configured_library(loaded)?;
    functions::add(&mut library, &mut context, loaded)?;
    let options = OrchestratorConfig {
        allow_unadmitted: rewards.unadmitted == Unadmitted::Allow,
        // The agents may find a tool during training for a prompt that no tool fits now.
        allow_uncovered: rewards.evolve.is_some(),
        defaults: rewards
            .python
            .iter()
            .filter(|f| !rewards.is_always(f.tool_name()))
            .map(PythonFunction::weighted)
            .collect(),
        always: rewards.always.clone(),
        audit: rewards.audit.tools.clone(),
    };
    let mut orchestrator = Orchestrator::new(library, context, options);
    for (domain, members) in &rewards.assign {
        let (by, why) = ("config".into(), format!("`rewards.assign` gives them to `{domain}`"));
        orchestrator.assign_domain(domain, Assignment { example: domain.clone(), tools: members.clone(), by, why });
    }
    functions::admit(&mut orchestrator, loaded, earlier)?;
    for tool in &rewards.audit.tools {
        orchestrator.open(tool).context("`rewards.audit`")?;
    }
    Ok((orchestrator, agents))
}

/// Fails if there is a prompt that no tool may score, so that this is known before the job starts.
pub fn check_tools(loaded: &LoadedConfig, rewards: &Orchestrator) -> Result<()> {
    unassigned(loaded, rewards)?.into_iter().next().map_or(Ok(()), Err)
}

/// Prompts of one domain that no tool may score.
struct UnassignedPrompts {
    /// Why the first of these prompts has no tool.
    reason: RewardError,
    count: usize,
}

/// The prompts that no tool may score: one error for each data set and domain, which names the first prompt.
pub fn unassigned(loaded: &LoadedConfig, rewards: &Orchestrator) -> Result<Vec<Error>> {
    let data = &loaded.config.data;
    let reason = |example: &Example| rewards.choose(example).err().map(|reason| (domain(example).to_owned(), reason));
    let mut errors = Vec::new();
    for (key, files) in [("train", &data.train), ("heldout", &data.heldout)] {
        let mut by_domain: BTreeMap<String, UnassignedPrompts> = BTreeMap::new();
        let mut count = |unassigned: Option<(String, RewardError)>| -> Result<()> {
            if let Some((domain, reason)) = unassigned {
                by_domain.entry(domain).or_insert(UnassignedPrompts { reason, count: 0 }).count += 1;
            }
            Ok(())
        };
        if key == "train" {
            loaded.train.for_each(|example| reason(&example), &mut count)?;
        } else {
            loaded.heldout.iter().try_for_each(|example| count(reason(example)))?;
        }
        let set = files.as_ref().map_or_else(|| format!("`data.mixture`, {key}"), ToString::to_string);
        errors.extend(by_domain.into_iter().map(|(domain, UnassignedPrompts { reason, count })| {
            let what =
                if count == 1 { set.clone() } else { format!("{set}: {count} prompts of `{domain}`, the first") };
            Error::from(reason).context(what)
        }));
    }
    Ok(errors)
}
