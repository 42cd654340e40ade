//! Which driver to use.

/// Which kernel interface the engine uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// io_uring, else epoll.
    #[default]
    Auto,
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
}

/// Why not io_uring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not yet")]
pub struct Unavailable;

/// Whether io_uring works.
///
/// # Errors
/// Why not.
pub fn probe() -> Result<(), Unavailable> {
    Ok(())
}
