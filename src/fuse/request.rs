//! One request of the kernel, taken apart.
//!
//! Invariant: nothing the kernel (or a successor's shared memory) holds can make this panic; what does not
//! parse is answered as unknown.
//!
//! Not here: answering it (`serve`).

use zerocopy::FromBytes;

use super::abi::{BatchForgetIn, ForgetOne, InHeader, InitIn, IoctlIn, Opcode, ReadIn, TCGETS};
use crate::view::NodeId;

/// Who asks, and where the answer goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) unique: u64,
    /// Thread id of the task in this process's pid namespace; 0 if it has none there.
    pub(super) pid: u32,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum Question<'a> {
    Init {
        kernel: InitIn,
        flags2: u32,
    },
    Lookup {
        parent: NodeId,
        name: &'a [u8],
    },
    Forget(Vec<(NodeId, u64)>),
    Attributes {
        node: NodeId,
    },
    Target {
        node: NodeId,
    },
    Read {
        node: NodeId,
        offset: u64,
        length: u32,
    },
    List {
        node: NodeId,
        position: u64,
        bytes: u32,
        plus: bool,
    },
    Usage {
        node: NodeId,
    },
    Open {
        node: NodeId,
    },
    OpenDirectory,
    /// Flush and the releases of handles that were never given.
    Close,
    Interrupt {
        unique: u64,
    },
    /// An ioctl; `terminal`: the task asks whether the file is a terminal, as Python does with each it opens.
    Control {
        node: NodeId,
        terminal: bool,
    },
    Destroy,
    Unknown,
}

impl Question<'_> {
    /// Whether the view answers it, which may take as long as storage likes.
    pub(super) fn is_for_the_view(&self) -> bool {
        use Question::{Attributes, List, Lookup, Read, Target, Usage};
        matches!(
            self,
            Lookup { .. } | Attributes { .. } | Target { .. } | Read { .. } | List { .. } | Usage { .. }
        )
    }
}

/// The asker and the question in `bytes`; `None` if they do not even hold a header.
pub(super) fn parse(bytes: &[u8]) -> Option<(Asker, Question<'_>)> {
    let (header, body) = InHeader::read_from_prefix(bytes).ok()?;
    let asker = Asker { unique: header.unique, pid: header.pid };
    Some((asker, question(&header, body).unwrap_or(Question::Unknown)))
}

/// What `bytes` ask, if the request they begin with was read at all.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let (header, _) = InHeader::read_from_prefix(bytes).ok()?;
    let length = usize::try_from(header.len).ok()?;
    (header.opcode != 0 && length >= size_of::<InHeader>() && length <= bytes.len()).then_some(length)
}

fn question<'a>(header: &InHeader, body: &'a [u8]) -> Option<Question<'a>> {
    let node = NodeId::of_kernel(header.node);
    Some(match Opcode::of(header.opcode)? {
        Opcode::Init => {
            let (kernel, rest) = InitIn::read_from_prefix(body).ok()?;
            let flags2 = u32::read_from_prefix(rest).map_or(0, |(flags2, _)| flags2);
            Question::Init { kernel, flags2 }
        }
        Opcode::Lookup => Question::Lookup { parent: node, name: name_in(body)? },
        Opcode::Forget => Question::Forget(vec![(node, u64::read_from_prefix(body).ok()?.0)]),
        Opcode::BatchForget => Question::Forget(forgets_in(body)?),
        Opcode::Getattr => Question::Attributes { node },
        Opcode::Readlink => Question::Target { node },
        Opcode::Read => {
            let (read, _) = ReadIn::read_from_prefix(body).ok()?;
            Question::Read { node, offset: read.offset, length: read.size }
        }
        list @ (Opcode::Readdir | Opcode::Readdirplus) => {
            let (read, _) = ReadIn::read_from_prefix(body).ok()?;
            let plus = list == Opcode::Readdirplus;
            Question::List { node, position: read.offset, bytes: read.size, plus }
        }
        Opcode::Statfs => Question::Usage { node },
        Opcode::Open => Question::Open { node },
        Opcode::Opendir => Question::OpenDirectory,
        Opcode::Flush | Opcode::Release | Opcode::Releasedir => Question::Close,
        Opcode::Interrupt => Question::Interrupt { unique: u64::read_from_prefix(body).ok()?.0 },
        Opcode::Ioctl => {
            let (ioctl, _) = IoctlIn::read_from_prefix(body).ok()?;
            Question::Control { node, terminal: ioctl.command == TCGETS }
        }
        Opcode::Destroy => Question::Destroy,
    })
}

/// A name up to its NUL. The kernel sends single components only; anything else is not a name.
fn name_in(body: &[u8]) -> Option<&[u8]> {
    let name = &body[..body.iter().position(|b| *b == 0)?];
    let is_component = !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/');
    is_component.then_some(name)
}

fn forgets_in(body: &[u8]) -> Option<Vec<(NodeId, u64)>> {
    let (batch, mut rest) = BatchForgetIn::read_from_prefix(body).ok()?;
    let mut forgets = Vec::new();
    for _ in 0..batch.count {
        let (one, after) = ForgetOne::read_from_prefix(rest).ok()?;
        forgets.push((NodeId::of_kernel(one.node), one.lookups));
        rest = after;
    }
    Some(forgets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    fn request(opcode: u32, body: &[u8]) -> Vec<u8> {
        let len = (size_of::<InHeader>() + body.len()) as u32;
        let header = InHeader { len, opcode, unique: 8, node: 1, uid: 0, gid: 0, pid: 5, padding: 0 };
        [header.as_bytes(), body].concat()
    }

    proptest! {
        #[test]
        fn no_bytes_make_parsing_panic(opcode in 0u32..60, body: Vec<u8>, garbage: Vec<u8>) {
            let _ = parse(&request(opcode, &body));
            let _ = parse(&garbage);
            let _ = length(&garbage);
        }
    }

    #[test]
    fn only_single_components_are_names() {
        let cases: [(&[u8], bool); 7] = [
            (b"numpy\0", true),
            (b"a\nb\xff\0", true), // names are bytes
            (b"..\0", false),      // would leave the view
            (b".\0", false),
            (b"a/b\0", false), // would skip a component
            (b"\0", false),
            (b"endless", false), // no NUL
        ];
        for (body, is_name) in cases {
            let bytes = request(Opcode::Lookup as u32, body);
            let (_, question) = parse(&bytes).unwrap();
            assert_eq!(matches!(question, Question::Lookup { .. }), is_name, "{body:?}");
        }
    }
}
