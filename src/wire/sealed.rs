//! A connection on a fabric that is declared trusted: authenticated, each message with a MAC, not encrypted.
//!
//! Both ends prove in a challenge and response that they know the key, which never travels. From both challenges
//! follow two keys, one per direction. Then each piece of the stream is `length (4 bytes, big-endian), bytes,
//! MAC (16 bytes)`. The MAC is Poly1305 over length and bytes under a key of its own for each piece, which ChaCha20
//! makes of the direction's key and the piece's number (RFC 8439 with nothing to encrypt). So a piece that is
//! changed, left out, repeated, reordered or sent back to where it came from ends the connection.
//!
//! Invariant: no byte is handed on before its MAC was checked, and no more than one piece is held.
//!
//! Not here: the key's derivation (`identity`), what is said over the connection (HTTP).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, hmac};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// What either end says first: a name and the version of this protocol.
const GREETING: [u8; 8] = *b"spinney\x01";

/// Bytes of a challenge.
const CHALLENGE_BYTES: usize = 32;

/// Bytes of a piece at most: 32 KiB. Large enough that 20 bytes more and a call of the cipher cost nothing.
const PIECE_BYTES_MAX: usize = 32 * 1024;

const LENGTH_BYTES: usize = 4;
const MAC_BYTES: usize = 16;

/// Memory that an idle direction keeps: 2 KiB. An answer that is larger allocates anew.
const IDLE_BYTES_MAX: usize = 2 * 1024;

/// One end's keys: for what it sends and for what it receives.
struct Keys {
    sending: LessSafeKey,
    receiving: LessSafeKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

/// An authenticated stream over `S`.
pub(super) struct Sealed<S> {
    stream: S,
    keys: Keys,
    incoming: Incoming,
    outgoing: Outgoing,
}

#[derive(Default)]
struct Incoming {
    /// The piece that is arriving, or, once checked, being handed out; behind it at most the next one's length.
    bytes: Vec<u8>,
    /// How many have arrived.
    filled: usize,
    /// What is still to be handed out; empty until the piece was checked.
    ready: std::ops::Range<usize>,
    pieces: u64,
}

#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    pieces: u64,
}

/// Connects over `stream` as the end that asks.
///
/// # Errors
/// `PermissionDenied` if the other end does not know the key.
pub(super) async fn connect<S>(mut stream: S, key: &[u8; 32]) -> io::Result<Sealed<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let ours = challenge()?;
    stream.write_all(&[&GREETING[..], &ours].concat()).await?;
    let theirs = read_greeting(&mut stream).await?;
    let mut proof = [0; 32];
    stream.read_exact(&mut proof).await?;
    hmac::verify(&key, &proven(End::Server, &ours, &theirs), &proof).map_err(|_| not_ours())?;
    stream.write_all(hmac::sign(&key, &proven(End::Client, &ours, &theirs)).as_ref()).await?;
    Ok(Sealed::new(stream, keys(&key, End::Client, &ours, &theirs)))
}

/// Accepts a connection over `stream` as the end that answers.
///
/// # Errors
/// `PermissionDenied` if the other end does not know the key; `InvalidData` if it speaks something else.
pub(super) async fn accept<S>(mut stream: S, key: &[u8; 32]) -> io::Result<Sealed<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let theirs = read_greeting(&mut stream).await?;
    let ours = challenge()?;
    let proof = hmac::sign(&key, &proven(End::Server, &theirs, &ours));
    stream.write_all(&[&GREETING[..], &ours, proof.as_ref()].concat()).await?;
    let mut proof = [0; 32];
    stream.read_exact(&mut proof).await?;
    hmac::verify(&key, &proven(End::Client, &theirs, &ours), &proof).map_err(|_| not_ours())?;
    Ok(Sealed::new(stream, keys(&key, End::Server, &theirs, &ours)))
}

fn challenge() -> io::Result<[u8; CHALLENGE_BYTES]> {
    let mut bytes = [0; CHALLENGE_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(bytes)
}

async fn read_greeting<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<[u8; CHALLENGE_BYTES]> {
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting).await?;
    if greeting != GREETING {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a node with a trusted fabric"));
    }
    let mut challenge = [0; CHALLENGE_BYTES];
    stream.read_exact(&mut challenge).await?;
    Ok(challenge)
}

/// What `end` signs: which end it is, so that a proof cannot be sent back, and both challenges.
fn proven(end: End, client: &[u8; CHALLENGE_BYTES], server: &[u8; CHALLENGE_BYTES]) -> Vec<u8> {
    let name: &[u8] = if end == End::Client { b"client" } else { b"server" };
    [name, client, server].concat()
}

fn keys(key: &hmac::Key, end: End, client: &[u8; 32], server: &[u8; 32]) -> Keys {
    // A MAC over both challenges is a fresh key of its own; HKDF makes the two directions from it.
    let fresh = hmac::sign(key, &[b"keys".as_slice(), client, server].concat());
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"spinney seal 1").extract(fresh.as_ref());
    let direction = |name: &[u8]| {
        let about = [name];
        let okm = secret.expand(&about, &CHACHA20_POLY1305).expect("32 bytes are within one block");
        LessSafeKey::new(UnboundKey::from(okm))
    };
    let (asks, answers) = (direction(b"client to server"), direction(b"server to client"));
    match end {
        End::Client => Keys { sending: asks, receiving: answers },
        End::Server => Keys { sending: answers, receiving: asks },
    }
}

fn not_ours() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the other end does not know the key")
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl<S> Sealed<S> {
    fn new(stream: S, keys: Keys) -> Self {
        Sealed { stream, keys, incoming: Incoming::default(), outgoing: Outgoing::default() }
    }
}

impl Incoming {
    /// Hands out checked bytes.
    fn take(&mut self, into: &mut ReadBuf<'_>) {
        let count = self.ready.len().min(into.remaining());
        into.put_slice(&self.bytes[self.ready.start..self.ready.start + count]);
        self.ready.start += count;
        if self.ready.is_empty() {
            let end = self.ready.end + MAC_BYTES;
            self.bytes.copy_within(end..self.filled, 0);
            self.filled -= end;
        }
    }

    /// Gives memory back while nothing arrives.
    fn rest(&mut self) {
        if self.filled < LENGTH_BYTES && self.bytes.capacity() > IDLE_BYTES_MAX {
            self.bytes.truncate(LENGTH_BYTES);
            self.bytes.shrink_to_fit();
        }
    }

    /// Bytes that the arriving piece has in all, as far as is known.
    fn wanted(&self) -> io::Result<usize> {
        if self.filled < LENGTH_BYTES {
            return Ok(LENGTH_BYTES);
        }
        let length = u32::from_be_bytes(self.bytes[..LENGTH_BYTES].try_into().expect("four bytes"));
        match usize::try_from(length) {
            Ok(length) if (1..=PIECE_BYTES_MAX).contains(&length) => Ok(LENGTH_BYTES + length + MAC_BYTES),
            _ => Err(broken("a piece of impossible length")),
        }
    }

    /// Checks the piece that takes the first `length` bytes, length and MAC included.
    fn check(&mut self, length: usize, key: &LessSafeKey) -> io::Result<()> {
        let end = length - MAC_BYTES;
        let mut mac: [u8; MAC_BYTES] = self.bytes[end..length].try_into().expect("16 bytes");
        key.open_in_place(nonce(self.pieces), Aad::from(&self.bytes[..end]), &mut mac)
            .map_err(|_| broken("a piece whose MAC does not match"))?;
        self.pieces += 1;
        self.ready = LENGTH_BYTES..end;
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Sealed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Sealed { stream, keys, incoming, .. } = &mut *self;
        while incoming.ready.is_empty() {
            let wanted = incoming.wanted()?;
            if incoming.filled >= wanted && wanted > LENGTH_BYTES {
                incoming.check(wanted, &keys.receiving)?;
                break;
            }
            // With the length of the next piece, so that a stream of them takes one read each.
            let room = if wanted > LENGTH_BYTES { wanted + LENGTH_BYTES } else { wanted };
            if incoming.bytes.len() < room {
                incoming.bytes.resize(room, 0);
            }
            let mut room = ReadBuf::new(&mut incoming.bytes[incoming.filled..room]);
            let polled = Pin::new(&mut *stream).poll_read(context, &mut room);
            if polled.is_pending() {
                incoming.rest();
                return Poll::Pending;
            }
            ready!(polled)?;
            match room.filled().len() {
                0 if incoming.filled == 0 => return Poll::Ready(Ok(())),
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                count => incoming.filled += count,
            }
        }
        incoming.take(into);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sealed<S> {
    /// Writes what was sealed.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Sealed { stream, outgoing, .. } = self;
        while outgoing.written < outgoing.bytes.len() {
            let rest = &outgoing.bytes[outgoing.written..];
            match ready!(Pin::new(&mut *stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => outgoing.written += count,
            }
        }
        outgoing.written = 0;
        outgoing.bytes.clear();
        Poll::Ready(Ok(()))
    }

    fn seal(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let Sealed { keys, outgoing, .. } = self;
        let length = parts.iter().map(|part| part.len()).sum::<usize>().min(PIECE_BYTES_MAX);
        if length == 0 {
            return Ok(0);
        }
        outgoing.bytes.reserve_exact(LENGTH_BYTES + length + MAC_BYTES);
        outgoing.bytes.extend_from_slice(&(length as u32).to_be_bytes());
        for part in parts {
            let left = LENGTH_BYTES + length - outgoing.bytes.len();
            outgoing.bytes.extend_from_slice(&part[..part.len().min(left)]);
        }
        let about = Aad::from(&outgoing.bytes[..]);
        let mac = keys
            .sending
            .seal_in_place_separate_tag(nonce(outgoing.pieces), about, &mut [])
            .map_err(|_| broken("a piece cannot be sealed"))?;
        outgoing.bytes.extend_from_slice(mac.as_ref());
        outgoing.pieces += 1;
        Ok(length)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Sealed<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(context))?;
        let taken = self.seal(parts)?;
        // They count as written: what the stream does not take now goes with the next call or flush.
        if let Poll::Ready(Err(error)) = self.poll_drain(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        if self.outgoing.bytes.capacity() > IDLE_BYTES_MAX {
            self.outgoing.bytes = Vec::new();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
