//! A message to a topic of a Kafka cluster, or of what speaks its protocol. Built with the feature `kafka` only.
//!
//! With TLS and a name that is proved if `kafka_access` says so; else without either, for clusters within a site.
//!
//! Invariant: only the cluster's own acknowledgement means that the message was taken.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rskafka::BackoffConfig;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::client::{ClientBuilder, Credentials, SaslConfig};
use rskafka::record::Record;
use xxhash_rust::xxh3::xxh3_64;

use super::kafka_access::{Access, Mechanism};
use super::{Body, Outgoing, SendError};
use crate::track::run::now;
use crate::track::trust::Trust;

/// How long the client tries by itself: as long as a run waits for what it sends.
const TRYING: Duration = Duration::from_secs(2);

/// Produces the bodies of the message to `topic`, those of one message to one partition.
///
/// # Errors
/// Not all were acknowledged until `deadline`.
pub fn produce(
    servers: &[String],
    topic: &str,
    access: Option<&Path>,
    outgoing: &Outgoing,
    deadline: Instant,
) -> Result<(), SendError> {
    let unusable = |file: &Path, why: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {why}", file.display()))
    };
    let access = access.map(|file| Access::read(file).map_err(|error| unusable(file, &error))).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let until = tokio::time::Instant::from_std(deadline);
        let sent = tokio::time::timeout_at(until, send(servers, topic, access, outgoing)).await;
        sent.unwrap_or(Err(SendError::Late))
    });
    runtime.shutdown_background();
    done
}

async fn send(
    servers: &[String],
    topic: &str,
    access: Option<Access>,
    outgoing: &Outgoing,
) -> Result<(), SendError> {
    let refused = |error: rskafka::client::error::Error| SendError::Refused(error.to_string());
    let patience = BackoffConfig { deadline: Some(TRYING), ..BackoffConfig::default() };
    let mut builder = ClientBuilder::new(servers.to_vec()).client_id("spinney").backoff_config(patience);
    if let Some(access) = access {
        if access.tls {
            let config = Trust::Authorities(access.authorities.clone()).config()?;
            builder = builder.tls_config(Arc::new(config));
        }
        if let Some(proof) = proof(access) {
            builder = builder.sasl_config(proof);
        }
    }
    let client = builder.build().await.map_err(refused)?;
    let topics = client.list_topics().await.map_err(refused)?;
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no topic `{topic}`"));
    let found = topics.into_iter().find(|it| it.name == topic).ok_or_else(missing)?;
    let partitions: Vec<i32> = found.partitions.into_iter().collect();
    let place = xxh3_64(outgoing.message.name.as_bytes()) % partitions.len().max(1) as u64;
    let partition = *partitions.get(place as usize).ok_or_else(missing)?;
    let client =
        client.partition_client(topic, partition, UnknownTopicHandling::Error).await.map_err(refused)?;
    let records = outgoing.bodies().into_iter().map(record).collect();
    client.produce(records, Compression::NoCompression).await.map_err(refused)?;
    Ok(())
}

fn proof(access: Access) -> Option<SaslConfig> {
    let credentials = Credentials::new(access.user, access.password);
    Some(match access.mechanism? {
        Mechanism::Plain => SaslConfig::Plain(credentials),
        Mechanism::ScramSha256 => SaslConfig::ScramSha256(credentials),
        Mechanism::ScramSha512 => SaslConfig::ScramSha512(credentials),
    })
}

fn record(body: Body) -> Record {
    let headers = BTreeMap::from([("content-type".to_owned(), body.media_type.as_bytes().to_vec())]);
    let timestamp: DateTime<Utc> = DateTime::from_timestamp_micros((now() * 1e6) as i64).unwrap_or_default();
    Record { key: Some(body.key.into_bytes()), value: Some(body.bytes.to_vec()), headers, timestamp }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::send::Message;
    use crate::track::send::broker::{AUTHORITY, Broker};
    use crate::track::send::destination::{Destination, Form};

    fn outgoing() -> Outgoing {
        let message =
            Message { name: "n".to_owned(), system: "s".to_owned(), text: b"[\"run\",{}]\n".to_vec() };
        Outgoing { to: Destination::Nowhere, form: Form::Spinney, message }
    }

    #[test]
    fn a_message_is_taken_by_whom_it_is_for_and_a_password_goes_to_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let file = directory.path().join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            file
        };
        let authority = file("authority.pem", AUTHORITY);
        let stranger = file("stranger.pem", include_str!("../../../tests/it/certificates/collector.pem"));
        let trusting = |file: &Path| format!("authorities = {:?}\n", file.display().to_string());
        let account = "mechanism = \"plain\"\nuser = \"u\"\npassword = \"p\"\n";
        let known = Some(("u", "p"));
        let cases = [
            (false, None, None, true),
            (true, None, Some(trusting(&authority)), true),
            (true, known, Some(trusting(&authority) + account), true),
            (true, known, Some(trusting(&authority) + &account.replace("\"p\"", "\"q\"")), false), // wrong
            (true, known, Some(trusting(&authority)), false),                                      // and none
            (true, known, Some(trusting(&stranger) + account), false), // by somebody else
            (false, known, Some(trusting(&authority) + account), false), // not in the open
            (false, known, Some(format!("tls = false\n{account}")), false), // not even if it is asked for
        ];
        for (number, (is_sealed, account, access, is_taken)) in cases.into_iter().enumerate() {
            let (server, taken) = Broker { is_sealed, account }.start();
            let access = access.map(|text| file("access.toml", &text));
            let deadline = Instant::now() + Duration::from_secs(if is_taken { 60 } else { 1 });
            let done = produce(&[server], "records", access.as_deref(), &outgoing(), deadline);
            assert_eq!(done.is_ok(), is_taken, "case {number}: {done:?}");
            let came = taken.try_iter().any(|it| it.windows(7).any(|part| part == b"[\"run\","));
            assert_eq!(came, is_taken, "case {number}");
        }
    }

    #[test]
    fn where_nobody_listens_nothing_is_taken_and_nobody_waits_for_ever() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let hangs = listener.local_addr().unwrap().to_string();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        for server in [hangs, closed] {
            let deadline = Instant::now() + Duration::from_secs(1);
            assert!(produce(&[server], "t", None, &outgoing(), deadline).is_err());
        }
    }
}
