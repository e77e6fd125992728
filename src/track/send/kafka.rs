//! A message to a topic of a Kafka cluster, or of what speaks its protocol. Built with the feature `kafka` only.
//!
//! Without encryption and without a name: for clusters within a site. What others need is a collector over HTTPS.
//!
//! Invariant: only the cluster's own acknowledgement means that the message was taken.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rskafka::BackoffConfig;
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;
use xxhash_rust::xxh3::xxh3_64;

use super::{Body, Outgoing, SendError};
use crate::track::run::now;

/// How long the client tries by itself: as long as a run waits for what it sends.
const TRYING: Duration = Duration::from_secs(2);

/// Produces the bodies of the message to `topic`, those of one message to one partition.
///
/// # Errors
/// Not all were acknowledged until `deadline`.
pub fn produce(
    servers: &[String],
    topic: &str,
    outgoing: &Outgoing,
    deadline: Instant,
) -> Result<(), SendError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let until = tokio::time::Instant::from_std(deadline);
        let sent = tokio::time::timeout_at(until, send(servers, topic, outgoing)).await;
        sent.unwrap_or(Err(SendError::Late))
    });
    runtime.shutdown_background();
    done
}

async fn send(servers: &[String], topic: &str, outgoing: &Outgoing) -> Result<(), SendError> {
    let refused = |error: rskafka::client::error::Error| SendError::Refused(error.to_string());
    let patience = BackoffConfig { deadline: Some(TRYING), ..BackoffConfig::default() };
    let client = ClientBuilder::new(servers.to_vec())
        .client_id("spinney")
        .backoff_config(patience)
        .build()
        .await
        .map_err(refused)?;
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

fn record(body: Body) -> Record {
    let headers = BTreeMap::from([("content-type".to_owned(), body.media_type.as_bytes().to_vec())]);
    let timestamp: DateTime<Utc> = DateTime::from_timestamp_micros((now() * 1e6) as i64).unwrap_or_default();
    Record { key: Some(body.key.into_bytes()), value: Some(body.bytes.to_vec()), headers, timestamp }
}
