//! A schema registry in memory: every schema is new or known, and both are fine.
//!
//! Left out: compatibility, versions, everything but `POST /subjects/…`.

use std::rc::Rc;

use super::World;
use super::network::Step;

/// One HTTP connection.
#[derive(Debug, Default)]
pub(crate) struct Session;

impl Session {
    pub(crate) fn step(
        &mut self,
        world: &Rc<World>,
        input: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Step {
        let Some(head) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return Step::default();
        };
        let text = String::from_utf8_lossy(&input[..head]).into_owned();
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        let end = head + 4 + length.unwrap_or(0);
        if input.len() < end {
            return Step::default();
        }
        let body = input[head + 4..end].to_vec();
        input.drain(..end);
        let refuses = world.faults.get() && world.chance(1, 8);
        let (status, body) = if refuses {
            world.count("registry refuses");
            (
                "503 Service Unavailable",
                r#"{"error_code":50302,"message":"leader not known"}"#.to_owned(),
            )
        } else {
            let mut schemas = world.schemas.borrow_mut();
            let known = schemas.iter().position(|schema| *schema == body);
            let id = known.unwrap_or_else(|| {
                schemas.push(body);
                schemas.len() - 1
            });
            ("200 OK", format!("{{\"id\":{}}}", id + 1))
        };
        out.extend_from_slice(
            format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/vnd.schemaregistry.v1+json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
        Step::default()
    }
}
