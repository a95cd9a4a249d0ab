//! The description of the routes for programs: OpenAPI 3.1, whose schemas are made of the types that are read and written.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::routes::{ApiRoute, ROUTES, schemas};
use crate::wire::{ErrorAnswer, ReloadAnswer, RewardAnswer, RewardRequest, ToolList};

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let error = schema::<ErrorAnswer>(&mut generator);
    let mut paths = Map::new();
    for route in ROUTES {
        let mut operation = operation(&route, &mut generator);
        operation["responses"]["default"] = json!({
            "description": "The request as a whole has failed.",
            "content": { "application/json": { "schema": error.clone() } },
        });
        let method = route.method.to_ascii_lowercase();
        paths.insert(route.path.to_owned(), Value::Object(Map::from_iter([(method, operation)])));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rlar serve",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Rewards for replies of language models. A reply that was not scored never gets a number.",
        },
        "security": [{ "token": [] }, {}],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// What a route takes and gives.
fn operation(route: &ApiRoute, generator: &mut SchemaGenerator) -> Value {
    let json_of = |schema: Value| json!({ "application/json": { "schema": schema } });
    let any = || json!({ "type": "object" });
    let (takes, gives) = match route.path {
        "/v1/rewards" => (Some(schema::<RewardRequest>(generator)), json_of(schema::<RewardAnswer>(generator))),
        "/v1/tools" => (None, json_of(schema::<ToolList>(generator))),
        "/v1/reload" => (None, json_of(schema::<ReloadAnswer>(generator))),
        "/metrics" => (None, json!({ "text/plain": { "schema": { "type": "string" } } })),
        "/run_code" => {
            (Some(schema::<schemas::RunCodeRequest>(generator)), json_of(schema::<schemas::RunCodeAnswer>(generator)))
        }
        "/openrlhf" => {
            (Some(schema::<schemas::OpenRlhfRequest>(generator)), json_of(schema::<schemas::OpenRlhfAnswer>(generator)))
        }
        "/verify" => (Some(any()), json_of(any())),
        _ => (None, json_of(any())),
    };
    let mut operation = json!({
        "summary": route.summary,
        "operationId": route.path.trim_matches('/').replace(['/', '.'], "_"),
        "responses": { "200": { "description": "The answer.", "content": gives } },
    });
    if let Some(schema) = takes {
        operation["requestBody"] = json!({ "required": true, "content": json_of(schema) });
    }
    let pinned = matches!(route.path, "/v1/rewards" | "/v1/tools" | "/openrlhf" | "/verify");
    let mut parameters = Vec::new();
    if pinned {
        parameters.push(json!({
            "name": "library", "in": "query", "required": false, "schema": { "type": "string" },
            "description": "Hash of the library that is to score; 409 if it is not served.",
        }));
    }
    if route.path == "/v1/rewards" {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false, "schema": { "type": "string", "maxLength": 256 },
            "description": "A repeated request with the same key and body gets the same answer.",
        }));
    }
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    operation
}
