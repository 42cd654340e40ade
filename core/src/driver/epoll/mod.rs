//! The `epoll` driver.
