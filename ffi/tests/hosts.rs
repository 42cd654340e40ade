//! C hosts: whatever they do, they get statuses, and nothing of the engine is left when they are done.

use crate::kit;

use std::process::Command;

use kit::{Link, c_test, compile, has, pass};

const DRIVERS: [&str; 2] = ["epoll", "uring"];

/// Runs the C test on both drivers.
fn on_both(name: &str, arguments: &[&str]) {
    if !has("gcc") {
        return;
    }
    let program = compile(&c_test(name), Link::Shared, &[]);
    for driver in DRIVERS {
        pass(Command::new(&program.path).arg(driver).args(arguments));
    }
}

/// Runs the C test with the static library under AddressSanitizer and UndefinedBehaviorSanitizer.
fn under_sanitizers(name: &str, arguments: &[&str]) {
    if !has("gcc") {
        return;
    }
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];
    let program = compile(&c_test(name), Link::Static, &flags);
    for driver in DRIVERS {
        pass(
            Command::new(&program.path)
                .arg(driver)
                .args(arguments)
                .env("ASAN_OPTIONS", "detect_stack_use_after_return=1:abort_on_error=0"),
        );
    }
}

#[test]
fn an_engine_goes_on_as_another_one_and_takes_other_settings() {
    on_both("handover.c", &[]);
}

#[test]
fn every_function_answers_abuse_with_a_status() {
    on_both("abuse.c", &[]);
}

#[test]
fn every_function_answers_abuse_with_a_status_under_sanitizers() {
    under_sanitizers("abuse.c", &[]);
}

#[test]
fn every_function_answers_abuse_with_a_status_under_valgrind() {
    if !has("gcc") || !has("valgrind") {
        return;
    }
    let program = compile(&c_test("abuse.c"), Link::Shared, &[]);
    // io_uring is beyond this valgrind.
    pass(
        Command::new("valgrind")
            .args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"])
            .args(["--fair-sched=yes"])
            .arg(&program.path)
            .arg("epoll"),
    );
}

#[test]
fn a_host_decides_who_comes_in() {
    on_both("authorize.c", &[]);
}

#[test]
fn a_host_decides_who_comes_in_under_sanitizers() {
    under_sanitizers("authorize.c", &[]);
}

#[test]
fn sixteen_threads_may_use_an_engine_while_it_is_stopped_and_freed() {
    on_both("threads.c", &["30"]);
}

#[test]
fn sixteen_threads_may_use_an_engine_while_it_is_stopped_and_freed_under_sanitizers() {
    under_sanitizers("threads.c", &["10"]);
}

#[test]
fn a_thousand_engines_leave_no_thread_no_descriptor_and_no_memory() {
    on_both("cycles.c", &["1000"]);
}

#[test]
fn engines_leak_nothing_under_sanitizers() {
    under_sanitizers("cycles.c", &["20"]);
}

#[test]
fn a_forked_child_is_told_so_and_harms_nobody() {
    on_both("fork.c", &[]);
}

#[test]
fn references_are_released_once_and_where_it_is_said() {
    on_both("references.c", &[]);
}

#[test]
fn references_are_released_once_and_where_it_is_said_under_sanitizers() {
    under_sanitizers("references.c", &[]);
}

#[test]
fn the_signals_of_the_host_stay_its_own() {
    on_both("signals.c", &[]);
}

#[test]
fn without_io_uring_an_engine_falls_back_or_says_why_it_does_not_start() {
    if !has("gcc") {
        return;
    }
    let program = compile(&c_test("refused.c"), Link::Shared, &[]);
    for error in ["EPERM", "ENOSYS"] {
        pass(Command::new(&program.path).arg(error));
    }
}

#[test]
fn the_interface_is_laid_out_as_it_was_promised() {
    if !has("gcc") {
        return;
    }
    pass(&mut Command::new(&compile(&c_test("layout.c"), Link::Shared, &[]).path));
}

#[test]
fn the_cpp_wrapper_owns_what_it_stands_for() {
    if !has("g++") {
        return;
    }
    for (link, flags) in [
        (Link::Shared, &[][..]),
        (Link::Shared, &["-DFANWIRE_NO_EXCEPTIONS", "-fno-exceptions", "-fno-rtti"][..]),
        (Link::Static, &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"][..]),
    ] {
        let program = compile(&c_test("wrapper.cpp"), link, flags);
        for driver in DRIVERS {
            pass(Command::new(&program.path).arg(driver));
        }
    }
}
