//! Defects that tests plant, to see the simulation find each of them. In what ships there are none.

/// What a node does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Old subscriptions end before the server knows the new ones.
    EndsEarly,
    /// Copies are heard.
    HearsCopies,
    /// What comes before those before it is not held.
    HoldsNothing,
    /// What the outlet had no room for is not counted.
    LeavesOutMissed,
    /// Its own messages are heard when they come back.
    HearsItself,
}

#[cfg(test)]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Defect>> = const { std::cell::Cell::new(None) };
}

/// Plants a defect in all nodes of this thread, or none.
#[cfg(test)]
pub fn plant(defect: Option<Defect>) {
    PLANTED.set(defect);
}

/// Whether this one is planted.
#[cfg(test)]
pub fn has(defect: Defect) -> bool {
    PLANTED.get() == Some(defect)
}

/// Whether this one is planted: none is.
#[cfg(not(test))]
pub const fn has(_: Defect) -> bool {
    false
}
