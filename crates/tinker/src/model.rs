//! A model that is trained on the server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::TinkerError;
use crate::adam::AdamParams;
use crate::checkpoint::{CheckpointPath, check_name};
use crate::codec::{Body, Codec, PassCall, PassKind, PassOutput, PassRequest};
use crate::connection::{Answer, ApiCall, Connection, ReadError, Repeat, json_body};
use crate::datum::Datum;
use crate::loss::LossFunction;
use crate::model_bodies::{
    CreateBody, CreatedModel, Done, InfoBody, LoraBody, SavedWeights, StepBody, StepResult, WeightsBody,
};
use crate::pending::{Pending, Ticket};
use crate::sampler::RemoteSampler;
use crate::server::{JSON, TinkerServer, archive_path};
use crate::session::{NewModel, TrainingSession};

/// A model that is trained on the server: a LoRA adapter with its gradients and its optimizer.
///
/// Wait for the results of passes before asking for the step: SkyRL 0.3 looks for passes and steps one after the other, and may
/// take a step first that arrives in between. A request whose acknowledgement is lost is sent again if the server
/// recognises it by its number (`seq_id`), which [`TrainingSession::create_model`] finds out. SkyRL 0.3 does not. There,
/// passes with gradients and steps that may have been taken give [`TinkerError::Unacknowledged`], and this model refuses
/// all further work.
#[derive(Debug)]
pub struct TrainingModel {
    session: TrainingSession,
    id: String,
    /// Number of requests so far.
    requests: u64,
    /// Number of samplers so far.
    samplers: u64,
    recognises_repeats: bool,
    /// Whether gradients wait for a step.
    has_gradients: bool,
    /// The call that may have been taken or not.
    doubt: Option<&'static str>,
    /// Number of optimizer steps so far, known to the samplers too.
    steps: Arc<AtomicU64>,
}

/// The result of an optimizer step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepOutput {
    /// What the server measured, by the server's names. SkyRL: `skyrl.ai/grad_norm`, `skyrl.ai/learning_rate`.
    pub metrics: BTreeMap<String, f64>,
}

/// The acknowledgement of a request to save weights.
enum Saving {
    Taken(Ticket),
    /// The name is taken by an earlier try of the same request.
    AlreadyThere,
}

/// The answer to a pass in one form.
enum SentPass {
    Taken(Ticket),
    /// The server takes another form; the text is its reason.
    WrongForm(String),
}

impl TrainingModel {
    /// Creates the `number`th model of a session.
    pub(crate) async fn create(session: TrainingSession, new: &NewModel, number: u64) -> Result<Self, TinkerError> {
        let name = "create_model";
        let server = session.server().clone();
        let connection = server.connection.clone();
        let lora_config = LoraBody { rank: new.rank, seed: new.seed };
        let (session_id, base_model) = (session.id(), new.base_model.as_str());
        let body = json_body(&CreateBody { session_id, model_seq_id: number, base_model, lora_config, kind: name });
        let call = ApiCall { name, path: name, body: Some(&body), accept: JSON, repeat: Repeat::Safe };
        let ticket: Ticket = connection.send(&call, |answer| connection.json(name, answer)).await?;
        let created: Pending<CreatedModel> = Pending::json(&connection, name, ticket.request_id);
        let created = created.result().await.map_err(|error| match error {
            TinkerError::Failed { url, message, .. } => {
                TinkerError::ModelRefused { url, model: new.base_model.clone(), rank: new.rank, message }
            }
            other => other,
        })?;
        if let Some(other) = created.base_model.filter(|model| *model != new.base_model) {
            return Err(server.wrong_model(&new.base_model, &[other]));
        }
        let Some(id) = created.model_id.or(ticket.model_id) else {
            let (url, message) = (connection.url.clone(), "it names no model".to_owned());
            return Err(TinkerError::Malformed { url, call: name, message });
        };
        let steps = Arc::new(AtomicU64::new(0));
        Ok(Self {
            session,
            id,
            requests: 0,
            samplers: 0,
            recognises_repeats: false,
            has_gradients: false,
            doubt: None,
            steps,
        })
    }

    /// The model's id on the server.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the server recognises a request that is sent twice, as it showed when the model was created.
    pub fn recognises_repeats(&self) -> bool {
        self.recognises_repeats
    }

    /// Asks for the log-probs of the targets, without gradients.
    pub async fn forward(&mut self, data: &[Datum], loss: LossFunction) -> Result<Pending<PassOutput>, TinkerError> {
        check_data(data, loss)?;
        let seq_id = self.next_request("forward")?;
        self.pass(PassKind::Forward, data, loss, seq_id).await
    }

    /// Asks for the log-probs of the targets, and adds the gradients of the loss to those since the last step.
    pub async fn forward_backward(
        &mut self,
        data: &[Datum],
        loss: LossFunction,
    ) -> Result<Pending<PassOutput>, TinkerError> {
        check_data(data, loss)?;
        let seq_id = self.next_request("forward_backward")?;
        self.pass(PassKind::ForwardBackward, data, loss, seq_id).await
    }

    /// Asks for a step with the gradients of all passes since the last one. Samplers made before are stale from here on.
    pub async fn optim_step(&mut self, adam: AdamParams) -> Result<Pending<StepOutput>, TinkerError> {
        let name = "optim_step";
        let seq_id = self.next_request(name)?;
        let body = json_body(&StepBody { model_id: &self.id, adam_params: adam, seq_id, kind: name });
        self.steps.fetch_add(1, Ordering::Relaxed);
        let connection = self.server().connection.clone();
        let call = ApiCall { name, path: name, body: Some(&body), accept: JSON, repeat: self.repeat() };
        let ticket: Ticket = self.change(&call, |answer| connection.json(name, answer)).await?;
        self.has_gradients = false;
        let reader = connection.clone();
        let read = move |body: &Body| -> Result<StepOutput, ReadError> {
            let result: StepResult = body.json().map_err(|error| reader.read_error(name, error))?;
            let metrics = result.metrics.unwrap_or_default().into_iter().map(|(metric, value)| match value {
                Some(value) if value.is_finite() => Ok((metric, value)),
                _ => Err(TinkerError::NotFinite { url: reader.url.clone(), call: name, what: format!("`{metric}`") }),
            });
            Ok(StepOutput { metrics: metrics.collect::<Result<_, _>>()? })
        };
        Ok(Pending::new(connection, name, ticket.request_id, JSON, Box::new(read)))
    }

    /// Saves adapter and optimizer on the server under a name that is new for this model, and waits for it.
    pub async fn save_weights(&mut self, name: &str) -> Result<CheckpointPath, TinkerError> {
        let call = "save_weights";
        check_name(name)?;
        let seq_id = self.next_request(call)?;
        let saving = self.save(call, Some(name), None, seq_id).await?;
        let expected = format!("tinker://{}/weights/{name}", self.id);
        let Saving::Taken(ticket) = saving else {
            let body = json_body(&InfoBody { tinker_path: &expected });
            let path = "weights_info";
            let info = ApiCall { name: call, path, body: Some(&body), accept: JSON, repeat: Repeat::Safe };
            self.server().wait_for_checkpoint(&info, |answer| answer.status == 200).await?;
            return CheckpointPath::parse(&expected);
        };
        let saved: Pending<SavedWeights> = Pending::json(&self.server().connection, call, ticket.request_id);
        CheckpointPath::parse(&saved.result().await?.path.unwrap_or(expected))
    }

    /// Saves the adapter on the server for [`TinkerServer::download_adapter`], under a name that is new for this model, and
    /// waits for it.
    pub async fn save_adapter(&mut self, name: &str) -> Result<CheckpointPath, TinkerError> {
        let call = "save_weights_for_sampler";
        check_name(name)?;
        let seq_id = self.next_request(call)?;
        let expected = format!("tinker://{}/sampler_weights/{name}", self.id);
        let Saving::Taken(ticket) = self.save(call, Some(name), None, seq_id).await? else {
            let checkpoint = CheckpointPath::parse(&expected)?;
            let path = archive_path(&checkpoint);
            let archive = ApiCall { name: call, ..TinkerServer::get(call, &path) };
            self.server().wait_for_checkpoint(&archive, |answer| answer.location.is_some()).await?;
            return Ok(checkpoint);
        };
        let saved: Pending<SavedWeights> = Pending::json(&self.server().connection, call, ticket.request_id);
        CheckpointPath::parse(&saved.result().await?.path.unwrap_or(expected))
    }

    /// A sampler of the weights as they are now.
    pub async fn sampler(&mut self) -> Result<RemoteSampler, TinkerError> {
        let call = "save_weights_for_sampler";
        let ticket = loop {
            let seq_id = self.next_request(call)?;
            self.samplers += 1;
            // What an earlier try may have saved has an unknown name. Saving again under the next one is harmless.
            if let Saving::Taken(ticket) = self.save(call, None, Some(self.samplers), seq_id).await? {
                break ticket;
            }
        };
        let connection = &self.server().connection;
        let saved: Pending<SavedWeights> = Pending::json(connection, call, ticket.request_id);
        let Some(id) = saved.result().await?.sampling_session_id else {
            let (url, message) = (connection.url.clone(), "it names no sampling session".to_owned());
            return Err(TinkerError::Malformed { url, call, message });
        };
        let step = self.steps.load(Ordering::Relaxed);
        Ok(RemoteSampler::new(self.session.clone(), id, step, self.steps.clone()))
    }

    /// Frees the model on the server, and waits for it.
    ///
    /// Gradients that wait for a step are used up before, by a step with the learning rate 0: SkyRL's JAX backend would add
    /// them to those of the next model that it puts into the same place.
    pub async fn unload(self) -> Result<(), TinkerError> {
        let connection = &self.server().connection;
        if self.has_gradients {
            let adam_params = AdamParams { learning_rate: 0.0, ..AdamParams::default() };
            let (model_id, seq_id, kind) = (self.id.as_str(), self.requests + 1, "optim_step");
            let body = json_body(&StepBody { model_id, adam_params, seq_id, kind });
            let call = ApiCall { name: kind, path: kind, body: Some(&body), accept: JSON, repeat: Repeat::Safe };
            let ticket: Ticket = connection.send(&call, |answer| connection.json(kind, answer)).await?;
            let step: Pending<StepResult> = Pending::json(connection, kind, ticket.request_id);
            // Gradients with NaN make the result unreadable, and are used up all the same.
            if let Err(error) = step.result().await {
                tracing::debug!("{error}");
            }
        }
        self.server().unload_model(&self.id).await
    }

    /// Loads adapter and optimizer; the first request of a model. Returns whether they are loaded: not if an acknowledgement was
    /// lost and the server takes no second request (SkyRL 0.4), because the result of the first one cannot be waited for then.
    pub(crate) async fn load_weights(&mut self, from: &CheckpointPath) -> Result<bool, TinkerError> {
        let name = "load_weights";
        let seq_id = self.next_request(name)?;
        let (path, optimizer) = (Some(from.as_str()), Some(true));
        let model_id = &self.id;
        let body = WeightsBody { model_id, path, sampling_session_seq_id: None, optimizer, seq_id, kind: name };
        let body = json_body(&body);
        // Loading the same weights twice is the same as loading them once.
        let call = ApiCall { name, path: name, body: Some(&body), accept: JSON, repeat: Repeat::Safe };
        let connection = self.server().connection.clone();
        let sent = connection.send(&call, |answer| match answer.status {
            400 if answer.may_be_repeated => Ok(None),
            _ => connection.json::<Ticket>(name, answer).map(Some),
        });
        let Some(ticket) = sent.await? else { return Ok(false) };
        let done: Pending<Done> = Pending::json(&connection, name, ticket.request_id);
        done.result().await.map(|_| true)
    }

    /// Sends one harmless pass twice with the same number. It shows in which form the server takes passes, and a server that
    /// recognises repeats acknowledges both as one.
    pub(crate) async fn probe(&mut self) -> Result<(), TinkerError> {
        let datum = Datum::supervised(&[0], &[0]);
        let seq_id = self.next_request("forward")?;
        let pass = (PassKind::Forward, LossFunction::CrossEntropy);
        let first = self.pass(pass.0, std::slice::from_ref(&datum), pass.1, seq_id).await?;
        let second = self.pass(pass.0, std::slice::from_ref(&datum), pass.1, seq_id).await?;
        self.recognises_repeats = first.request_id() == second.request_id();
        first.result().await?;
        if !self.recognises_repeats {
            second.result().await?;
        }
        Ok(())
    }

    fn server(&self) -> &TinkerServer {
        self.session.server()
    }

    /// The number of the next request, unless the session is lost or the model's state unknown.
    fn next_request(&mut self, call: &'static str) -> Result<u64, TinkerError> {
        self.session.check_alive()?;
        if let Some(since) = self.doubt {
            let (url, model) = (self.server().connection.url.clone(), self.id.clone());
            return Err(TinkerError::Uncertain { url, call, model, since });
        }
        self.requests += 1;
        Ok(self.requests)
    }

    /// Sends a pass, in each form that the server may take until it takes one.
    async fn pass(
        &mut self,
        kind: PassKind,
        data: &[Datum],
        loss: LossFunction,
        seq_id: u64,
    ) -> Result<Pending<PassOutput>, TinkerError> {
        let name = match kind {
            PassKind::Forward => "forward",
            PassKind::ForwardBackward => "forward_backward",
        };
        let (model_id, server) = (self.id.clone(), self.server().clone());
        let request = PassRequest { kind, model_id: &model_id, data, loss, seq_id };
        let mut refusals = Vec::new();
        for codec in server.codec.candidates() {
            match self.send_pass(name, &request, &*codec).await? {
                SentPass::Taken(ticket) => {
                    server.codec.found(&codec);
                    let lengths = data.iter().map(|datum| datum.targets.len()).collect();
                    return Ok(pending_pass(&server, name, ticket, lengths));
                }
                SentPass::WrongForm(reason) => refusals.push(format!("`{}` ({reason})", codec.media_type())),
            }
        }
        let message = format!("the server does not take passes as {}", refusals.join(", nor as "));
        Err(TinkerError::WrongVersion { url: server.url().to_owned(), call: name, message })
    }

    /// Sends a pass in one form.
    async fn send_pass(
        &mut self,
        name: &'static str,
        request: &PassRequest<'_>,
        codec: &dyn Codec,
    ) -> Result<SentPass, TinkerError> {
        let connection = self.server().connection.clone();
        let PassCall { path, body } = codec.encode_pass(request);
        let accept = codec.media_type();
        // After a try that may have added gradients, the same status does not say that nothing was done.
        let is_harmless = request.kind == PassKind::Forward;
        let read = |answer: &Answer| {
            if answer.is_wrong_form() && (is_harmless || !answer.may_be_repeated) {
                return Ok(SentPass::WrongForm(connection.status_message(answer)));
            }
            connection.json(name, answer).map(SentPass::Taken)
        };
        match request.kind {
            PassKind::Forward => {
                let call = ApiCall { name, path, body: Some(&body), accept, repeat: Repeat::Safe };
                connection.send(&call, read).await
            }
            PassKind::ForwardBackward => {
                self.has_gradients = true;
                let call = ApiCall { name, path, body: Some(&body), accept, repeat: self.repeat() };
                self.change(&call, read).await
            }
        }
    }

    /// Whether a request that changes gradients or weights may be sent again.
    fn repeat(&self) -> Repeat {
        if self.recognises_repeats { Repeat::Safe } else { Repeat::Unsafe }
    }

    /// Sends a request that changes gradients or weights, and keeps in mind whether it may have been taken without an
    /// acknowledgement. That is so, too, when the caller drops this future.
    async fn change<T>(
        &mut self,
        call: &ApiCall<'_>,
        read: impl Fn(&Answer) -> Result<T, ReadError>,
    ) -> Result<T, TinkerError> {
        let connection = self.server().connection.clone();
        self.doubt = Some(call.name);
        let sent = connection.send(call, read).await;
        let is_known = match &sent {
            // A request that is unsafe to repeat was tried again only where it was certainly not taken.
            Err(TinkerError::Unreachable { .. }) => call.repeat == Repeat::Unsafe,
            // Something answered with success, and with nothing that says what was done.
            Err(
                TinkerError::Unacknowledged { .. }
                | TinkerError::Malformed { .. }
                | TinkerError::NotFinite { .. }
                | TinkerError::WrongVersion { .. },
            ) => false,
            _ => true,
        };
        if is_known {
            self.doubt = None;
        }
        sent
    }

    /// Sends a request to save weights under a name, or under a number for a sampler.
    async fn save(
        &self,
        call: &'static str,
        path: Option<&str>,
        sampler: Option<u64>,
        seq_id: u64,
    ) -> Result<Saving, TinkerError> {
        let (model_id, sampling_session_seq_id) = (self.id.as_str(), sampler);
        let body =
            json_body(&WeightsBody { model_id, path, sampling_session_seq_id, optimizer: None, seq_id, kind: call });
        let connection = &self.server().connection;
        let request = ApiCall { name: call, path: call, body: Some(&body), accept: JSON, repeat: Repeat::Safe };
        let sent = connection.send(&request, |answer| match answer.status {
            // Names are used once, so that a repeated request finds its own.
            409 if answer.may_be_repeated => Ok(Saving::AlreadyThere),
            _ => connection.json(call, answer).map(Saving::Taken),
        });
        sent.await
    }
}

/// The result of a pass that the server has taken, with one log-prob per target: `lengths` has their numbers.
fn pending_pass(server: &TinkerServer, call: &'static str, ticket: Ticket, lengths: Vec<usize>) -> Pending<PassOutput> {
    let (codec, reader) = (server.codec.clone(), server.connection.clone());
    let accept = codec.accept();
    let read = move |body: &Body| -> Result<PassOutput, ReadError> {
        let codec = codec.reader(body).ok_or_else(|| reader.unknown_type(call, body))?;
        let output = codec.decode_pass(body).map_err(|error| reader.read_error(call, error))?;
        check_lengths(&reader, call, &output, &lengths)?;
        Ok(output)
    };
    Pending::new(server.connection.clone(), call, ticket.request_id, accept, Box::new(read))
}

/// Refuses data that cannot be sent, before they get a number: servers may wait for every number.
fn check_data(data: &[Datum], loss: LossFunction) -> Result<(), TinkerError> {
    if data.is_empty() {
        return Err(TinkerError::BadDatum { index: 0, message: "there is none. A pass needs at least one".into() });
    }
    data.iter().enumerate().try_for_each(|(i, datum)| datum.check(i, loss))
}

/// Refuses a result with more or fewer values than targets.
fn check_lengths(
    connection: &Connection,
    call: &'static str,
    output: &PassOutput,
    lengths: &[usize],
) -> Result<(), TinkerError> {
    let wrong = |what: String, received, expected| {
        let url = connection.url.clone();
        Err(TinkerError::WrongLength { url, call, what, received, expected })
    };
    if output.data.len() != lengths.len() {
        return wrong("data in the result".into(), output.data.len(), lengths.len());
    }
    for (i, (datum, length)) in output.data.iter().zip(lengths).enumerate() {
        if datum.logprobs.len() != *length {
            return wrong(format!("log-probs of datum {i}"), datum.logprobs.len(), *length);
        }
        if let Some(losses) = datum.losses.as_ref().filter(|losses| losses.len() != *length) {
            return wrong(format!("losses of datum {i}"), losses.len(), *length);
        }
    }
    Ok(())
}
