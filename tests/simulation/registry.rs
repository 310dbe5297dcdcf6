//! A schema registry in memory: an id for each schema, and the schema for each id.
//!
//! What it forgets on purpose: to answer, in time, at all, or with anything but 5xx. A schema whose
//! registration was not answered is registered all the same.
//!
//! Left out: compatibility, versions, subjects, everything but `POST /subjects/…`.

use std::rc::Rc;
use std::time::Duration;

use avro::Schema;
use avro::datum::Datum;
use avro::prefix::split_registry_id;
use serde_json::Value;
use tokio::time::Instant;

use super::World;
use super::network::Step;

/// What it knows.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// As they were sent, and parsed; the first has the id 1.
    schemas: Vec<(String, Schema)>,
    /// Nobody can connect before.
    pub(crate) down_until: Option<Instant>,
}

impl Registry {
    pub(crate) fn is_up(&self) -> bool {
        self.down_until
            .is_none_or(|until| engine::net::now() >= until)
    }

    /// The id of a schema. None: it is none.
    fn id(&mut self, text: &str) -> Option<usize> {
        let known = self.schemas.iter().position(|(schema, _)| schema == text);
        let at = match known {
            Some(at) => at,
            None => {
                let schema = text.parse().ok()?;
                self.schemas.push((text.to_owned(), schema));
                self.schemas.len() - 1
            }
        };
        Some(at + 1)
    }

    /// A key or value as people read it: JSON, or Avro behind the id of a schema.
    pub(crate) fn read(&self, bytes: &[u8]) -> Option<Value> {
        if bytes.first() != Some(&0) {
            return serde_json::from_slice(bytes).ok();
        }
        let (id, datum) = split_registry_id(bytes).ok()?;
        let at = usize::try_from(id).ok()?.checked_sub(1)?;
        let (_, schema) = self.schemas.get(at)?;
        Some(schema.to_json(&Datum::parse(schema, datum).ok()?))
    }
}

/// One HTTP connection.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// It answers then.
    answers: Option<(Instant, String)>,
}

impl Session {
    pub(crate) fn step(
        &mut self,
        world: &Rc<World>,
        input: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Step {
        let now = engine::net::now();
        if self.answers.is_none() {
            let Some(body) = take_request(input) else {
                return Step::default();
            };
            let Some((wait, answer)) = answer(world, &body) else {
                return Step {
                    close: true,
                    ..Step::default()
                };
            };
            self.answers = Some((now + wait, answer));
        }
        match self.answers.take_if(|(at, _)| *at <= now) {
            Some((_, answer)) => {
                out.extend_from_slice(answer.as_bytes());
                Step::default()
            }
            None => Step {
                deadline: self.answers.as_ref().map(|(at, _)| *at),
                ..Step::default()
            },
        }
    }
}

/// The body of a request that has arrived in full.
fn take_request(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let head = input.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&input[..head]).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let end = head + 4 + length.unwrap_or(0);
    if input.len() < end {
        return None;
    }
    let body = input[head + 4..end].to_vec();
    input.drain(..end);
    Some(body)
}

/// When what is answered; none: the connection ends instead.
fn answer(world: &World, body: &[u8]) -> Option<(Duration, String)> {
    let fate = if world.faults.get() {
        world.below(16)
    } else {
        16
    };
    let wait = Duration::from_millis(match fate {
        0 => 1000 + world.below(20_000),
        _ => world.below(20),
    });
    let (status, body) = match fate {
        1 => {
            world.count("registry refuses");
            let body = r#"{"error_code":50302,"message":"leader not known"}"#;
            ("503 Service Unavailable", body.to_owned())
        }
        2 => {
            world.count("registry refuses");
            let body = r#"{"error_code":50001,"message":"error in the backend data store"}"#;
            ("500 Internal Server Error", body.to_owned())
        }
        _ => {
            let asked = serde_json::from_slice::<Value>(body).unwrap_or_default();
            let schema = asked["schema"].as_str().unwrap_or_default();
            match world.registry.borrow_mut().id(schema) {
                Some(id) => ("200 OK", format!("{{\"id\":{id}}}")),
                None => {
                    world.fail(format!("a schema that is none: {asked}"));
                    return None;
                }
            }
        }
    };
    if fate == 0 {
        world.count("registry slow");
    }
    if fate == 3 {
        world.count("registry's response lost");
        return None;
    }
    world.note("schema", 0, fate);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/vnd.schemaregistry.v1+json\r\n\
         content-length: {length}\r\n\r\n"
    );
    Some((wait, head + &body))
}
