//! Which refreshes are under way: while there is one, names are passed through and not kept.
//!
//! Several may be at once, from several nodes. Each ends for itself, so none ends what another still needs.
//!
//! Not here: what is forgotten (`mod.rs`), the steps over all nodes (`daemon::refresh`).

/// Tells one refresh of a job from another. Chosen at random by the node that was asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshId(pub u64);

/// Refreshes under way at once: 64. A person starts one, a script perhaps a few.
const UNDER_WAY_MAX: usize = 64;

/// The refreshes under way.
#[derive(Debug, Default)]
pub(super) struct Refreshes(Vec<RefreshId>);

impl Refreshes {
    /// Notes that `refresh` is under way; false if too many are. One that already is stays one.
    pub(super) fn begin(&mut self, refresh: RefreshId) -> bool {
        if self.is_under_way(refresh) {
            return true;
        }
        let has_room = self.0.len() < UNDER_WAY_MAX;
        if has_room {
            self.0.push(refresh);
        }
        has_room
    }

    /// Notes that `refresh` has ended. It may be unknown: a daemon that died meanwhile has left no note of it.
    pub(super) fn end(&mut self, refresh: RefreshId) {
        self.0.retain(|under_way| *under_way != refresh);
    }

    pub(super) fn is_under_way(&self, refresh: RefreshId) -> bool {
        self.0.contains(&refresh)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_ends_itself_and_no_other() {
        let mut refreshes = Refreshes::default();
        assert!(refreshes.begin(RefreshId(1)) && refreshes.begin(RefreshId(2)));
        assert!(refreshes.begin(RefreshId(1)), "told twice, it is one");
        refreshes.end(RefreshId(1));
        assert!(!refreshes.is_under_way(RefreshId(1)) && refreshes.is_under_way(RefreshId(2)));
        refreshes.end(RefreshId(3)); // never begun here
        assert!(!refreshes.is_empty());
        refreshes.end(RefreshId(2));
        assert!(refreshes.is_empty());
    }

    #[test]
    fn beyond_the_limit_none_begins_until_one_has_ended() {
        let mut refreshes = Refreshes::default();
        let ids = 0..UNDER_WAY_MAX as u64;
        assert!(ids.map(RefreshId).all(|refresh| refreshes.begin(refresh)));
        assert!(!refreshes.begin(RefreshId(u64::MAX)));
        assert!(refreshes.begin(RefreshId(0)), "it is under way already");
        refreshes.end(RefreshId(0));
        assert!(refreshes.begin(RefreshId(u64::MAX)));
    }
}
