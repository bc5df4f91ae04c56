//! Users and groups of this host, as they were when they were first asked for: by this process, or by one that it goes on for.
//!
//! When a daemon goes on for another one, clients wait, and a directory service that is away may take minutes to say so; and
//! a user who was removed meanwhile must not end the mount.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Who a process can become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// User id; not root's.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
}

/// What was answered.
#[derive(Debug, Serialize, Deserialize)]
struct Answers {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
    accounts: BTreeMap<u32, Account>,
}

static ANSWERS: Mutex<Answers> =
    Mutex::new(Answers { users: BTreeMap::new(), groups: BTreeMap::new(), accounts: BTreeMap::new() });

/// The number of a user.
pub fn user(name: &str) -> Option<u32> {
    answer(|answers| &mut answers.users, name.to_owned(), || Some(uzers::get_user_by_name(name)?.uid()))
}

/// The number of a group.
pub fn group(name: &str) -> Option<u32> {
    answer(|answers| &mut answers.groups, name.to_owned(), || Some(uzers::get_group_by_name(name)?.gid()))
}

/// A user's account.
pub fn account(uid: u32) -> Option<Account> {
    let ask = || {
        let user = uzers::get_user_by_uid(uid)?;
        let gid = user.primary_group_id();
        let groups = uzers::get_user_groups(user.name(), gid).unwrap_or_default();
        Some(Account { uid, gid, groups: groups.iter().map(uzers::Group::gid).collect() })
    };
    answer(|answers| &mut answers.accounts, uid, ask)
}

/// Not under the lock: the host may take its time.
fn answer<K: Ord, V: Clone>(
    of: impl Fn(&mut Answers) -> &mut BTreeMap<K, V>,
    asked: K,
    ask: impl FnOnce() -> Option<V>,
) -> Option<V> {
    if let Some(known) = of(&mut ANSWERS.lock()).get(&asked) {
        return Some(known.clone());
    }
    let found = ask()?;
    of(&mut ANSWERS.lock()).insert(asked, found.clone());
    Some(found)
}

/// All that was answered, for [`know`].
pub fn answers() -> String {
    // There is nothing in it that JSON can't say.
    serde_json::to_string(&*ANSWERS.lock()).unwrap_or_default()
}

/// Takes what was answered in another process; what isn't such a text says nothing.
pub fn know(answers: &str) {
    let Ok(Answers { users, groups, accounts }) = serde_json::from_str(answers) else { return };
    let mut known = ANSWERS.lock();
    known.users.extend(users);
    known.groups.extend(groups);
    known.accounts.extend(accounts);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_before_is_not_asked_again() {
        let root = (user("root"), group("root"), account(0).map(|account| account.gid));
        assert_eq!(root, (Some(0), Some(0), Some(0)));
        assert!(answers().contains("\"root\":0"));
        assert_eq!(
            (user("of people's test"), group("of people's test"), account(4_000_000_123)),
            (None, None, None)
        );
        know("what is not said is not known");
        know(
            r#"{"users":{"of people's test":4000000123},"groups":{"of people's test":5},
                "accounts":{"4000000123":{"uid":4000000123,"gid":5,"groups":[5,6]}}}"#,
        );
        assert_eq!((user("of people's test"), group("of people's test")), (Some(4_000_000_123), Some(5)));
        assert_eq!(account(4_000_000_123).unwrap().groups, [5, 6]);
    }
}
