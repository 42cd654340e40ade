//! What is installed: the symbols, the names, pkg-config, CMake; and that the tree can be moved.

use crate::kit;

use std::fs;
use std::path::Path;
use std::process::Command;

use kit::{PATIENCE, finish, has, install, installed, package, text};

fn said(command: &mut Command) -> String {
    let output = finish(command, PATIENCE);
    assert!(output.status.success(), "{command:?}:\n{}", text(&output));
    String::from_utf8(output.stdout).expect("tools speak UTF-8")
}

/// What the library is to export: one name a line, sorted.
fn symbols() -> Vec<String> {
    let list = fs::read_to_string(package().join("symbols.txt")).expect("symbols.txt is readable");
    list.lines().map(str::to_owned).collect()
}

#[test]
fn exactly_the_listed_symbols_are_exported() {
    if !has("nm") {
        return;
    }
    let library = installed().join("lib/libfanwire.so");
    let listing = said(Command::new("nm").args(["--dynamic", "--defined-only", "--format=posix"]).arg(library));
    let mut exported: Vec<String> =
        listing.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    exported.sort();
    assert!(exported.iter().all(|name| name.starts_with("fw_")), "{exported:?}");
    assert_eq!(exported, symbols(), "ffi/symbols.txt is what the interface promises; a name that goes breaks hosts");
}

#[test]
fn the_header_declares_what_is_exported() {
    let header = fs::read_to_string(package().join("../include/fanwire.h")).expect("the header is readable");
    let code: String =
        header.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for symbol in symbols() {
        assert!(code.contains(&format!("{symbol}(")), "{symbol} is not declared");
    }
}

#[test]
fn the_shared_library_has_its_soname_and_needs_only_the_c_library() {
    if !has("readelf") {
        return;
    }
    let library = installed().join("lib/libfanwire.so");
    let dynamic = said(Command::new("readelf").args(["--dynamic", "--wide"]).arg(&library));
    let version = env!("CARGO_PKG_VERSION").rsplit_once('.').expect("three numbers").0;
    assert!(dynamic.contains(&format!("[libfanwire.so.{version}]")), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
    // Static thread-local storage would use up the little there is for all libraries that are loaded later.
    assert!(!dynamic.contains("STATIC_TLS"), "{dynamic}");
    for needed in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        let is_known = ["libc.so", "libgcc_s.so", "libm.so", "ld-linux", "libpthread", "libdl", "librt"]
            .iter()
            .any(|name| needed.contains(name));
        assert!(is_known, "{needed}");
    }
}

/// A host of both libraries.
const HOST: &str = r#"
#include <fanwire.h>
#include <stdio.h>
int main(void) {
    fw_config config;
    if (FW_CONFIG_INIT(&config) != FW_OK) return 1;
    printf("%s %u\n", fw_version(), fw_abi_version());
    return fw_abi_version() == FW_ABI_VERSION ? 0 : 1;
}
"#;

/// The installed tree at another place, with a space in its name.
fn moved(libdir: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = folder.path().join("first");
    match libdir {
        None => install(&kit::built(), &first),
        Some(libdir) => {
            let mut command = Command::new("sh");
            command.arg(package().join("install.sh")).arg(&first).arg("--from").arg(kit::built());
            said(command.args(["--libdir", libdir]));
        }
    }
    fs::rename(&first, folder.path().join("moved here")).expect("a folder can be renamed");
    fs::write(folder.path().join("host.c"), HOST).expect("a folder can be written to");
    folder
}

#[test]
fn pkg_config_finds_a_tree_that_was_moved() {
    if !has("pkg-config") || !has("gcc") {
        return;
    }
    for libdir in [None, Some("lib/x86_64-linux-gnu")] {
        let folder = moved(libdir);
        let lib = folder.path().join("moved here").join(libdir.unwrap_or("lib"));
        for package in ["fanwire", "fanwire-static"] {
            let mut command = Command::new("pkg-config");
            command.args(["--cflags", "--libs", package]).env("PKG_CONFIG_PATH", lib.join("pkgconfig"));
            let flags = said(&mut command);
            let program = folder.path().join(package);
            // Through a shell, as a makefile does it.
            let line = format!("gcc -std=c11 -Wall -Wextra -Werror host.c {} -o {package}", flags.trim());
            said(Command::new("sh").args(["-c", &line]).current_dir(folder.path()));
            check_host(&program, &lib);
        }
    }
}

#[test]
fn cmake_finds_a_tree_that_was_moved() {
    if !has("cmake") || !has("make") || !has("gcc") {
        return;
    }
    let project = r#"
cmake_minimum_required(VERSION 3.16)
project(host C)
find_package(fanwire 0.1 REQUIRED CONFIG)
find_package(fanwire 0.1 REQUIRED CONFIG)
add_executable(shared host.c)
target_link_libraries(shared PRIVATE fanwire::fanwire)
add_executable(static host.c)
target_link_libraries(static PRIVATE fanwire::static)
"#;
    for libdir in [None, Some("lib/x86_64-linux-gnu")] {
        let folder = moved(libdir);
        let prefix = folder.path().join("moved here");
        fs::write(folder.path().join("CMakeLists.txt"), project).expect("a folder can be written to");
        let configure = |wanted: &str| {
            let mut command = Command::new("cmake");
            let prefix = format!("-DCMAKE_PREFIX_PATH={}", prefix.display());
            command.args(["-S", ".", "-B", wanted, &prefix]).current_dir(folder.path());
            finish(&mut command, PATIENCE)
        };
        let configured = configure("build");
        assert!(configured.status.success(), "{}", text(&configured));
        said(Command::new("cmake").args(["--build", "build"]).current_dir(folder.path()));
        for program in ["shared", "static"] {
            check_host(&folder.path().join("build").join(program), &prefix.join(libdir.unwrap_or("lib")));
        }
        // Another minor version is another interface.
        let other = project.replace("0.1 REQUIRED", "0.2 REQUIRED");
        fs::write(folder.path().join("CMakeLists.txt"), other).expect("a folder can be written to");
        assert!(!configure("other").status.success());
    }
}

fn check_host(program: &Path, lib: &Path) {
    let words = said(Command::new(program).env("LD_LIBRARY_PATH", lib));
    assert_eq!(words, format!("{} 1\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_header_is_good_c_and_good_cpp_by_itself() {
    if !has("gcc") || !has("g++") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wundef", "-Wstrict-prototypes", "-Werror"];
    for (compiler, source, standard) in [
        ("gcc", "h.c", "c11"),
        ("gcc", "h.c", "c17"),
        ("g++", "h.cpp", "c++17"),
        ("g++", "h.cpp", "c++20"),
        ("g++", "hpp.cpp", "c++17"),
        ("g++", "hpp.cpp", "c++20"),
    ] {
        let header = if source.starts_with("hpp") { "fanwire.hpp" } else { "fanwire.h" };
        let path = folder.path().join(source);
        fs::write(&path, format!("#include <{header}>\n#include <{header}>\n")).expect("a folder can be written to");
        let mut command = Command::new(compiler);
        command
            .arg(format!("-std={standard}"))
            .args(warnings.iter().filter(|w| compiler == "gcc" || **w != "-Wstrict-prototypes"));
        said(command.arg("-I").arg(installed().join("include")).arg("-fsyntax-only").arg(&path));
    }
}
