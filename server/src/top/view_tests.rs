use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::once;
use super::*;

const SHARDS: &str = r#"{"at_ms":AT,"version":"0.1.0","driver":"uring","uptime_s":3600.5,"connections_max":10000,
  "total":{"connections":1020,"messages":1000,"deliveries":DELIVERIES,"sent_bytes":110000000,"dropped_normal":9120},
  "shards":[{"shard":0,"utilisation":0.42,"connections":510},{"shard":1,"utilisation":0.93,"connections":510}],
  "latency":{"publish_to_first_send_us":{"count":9,"p50":40,"p99":160,"max":224},
  "publish_to_last_send_us":{"count":9,"p50":1280,"p99":2048,"max":2560},"turn_us":{"count":0}}}"#;
const CLIENTS: &str = r#"{"total":1020,"behind":20,"by_lag":[
  {"id":"0.17.1","peer":"192.0.2.7:50122","subject":"u1","form":"json+deflate","connected_s":61,"subscriptions":12,
   "behind_messages":6400,"behind_bytes":3276800,"used":0.78,"drops_in_s":9.5,"cause":"reader","work_per_s":160000.0,
   "lanes":[{"topic":"rover/1/imu","priority":"normal","behind_messages":6400,"behind_bytes":3276800,"used":0.78}],
   "lost":[{"topic":"rover/1/imu","priority":"normal","from":3001,"to":4200}],"lost_total":9120},
  {"id":"1.4.2","peer":null,"subject":"EVIL","form":"json","used":0.1,"drops_in_s":null,"cause":null,
   "lanes":[{"topic":"EVIL","priority":"EVIL","used":0.1}],"lost":[]}],
  "by_work":[{"id":"1.9.9","work_per_s":5000000}]}"#;
const TOPICS: &str = r#"{"total":1200,"topics":[{"topic":"rover/1/imu","subscribers":1000,"published_per_s":200.0,
  "bytes_per_s":102400.0,"dropped":9120,"lanes":[{"priority":"low","behind":0.1},{"priority":"normal","behind":0.91}]}]}"#;
const GAPS: &str = r#"{"at_ms":1,"gaps":[{"at_ms":1796040000101,"client":"0.17.1","topic":"rover/1/imu","priority":"normal",
  "from":3001,"to":4200,"reason":"lag"}],"left_out":0}"#;

fn state() -> State {
    let mut state = State::new(Sort::Lag);
    let evil = "a\\u001b[2J\\nb\\u202e";
    let shards = |at: &str, deliveries: &str| SHARDS.replace("AT", at).replace("DELIVERIES", deliveries);
    state.take("$sys/shards", shards("1796040000000", "0").as_bytes());
    state.take("$sys/shards", shards("1796040001000", "204000").as_bytes());
    state.take("$sys/clients", CLIENTS.replace("EVIL", evil).as_bytes());
    state.take("$sys/topics", TOPICS.as_bytes());
    state.take("$sys/gaps", GAPS.as_bytes());
    state.link = Link::Live;
    state
}

fn drawn(state: &State, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state, "ws://127.0.0.1:9002/ws")).unwrap();
    lines(terminal.backend().buffer())
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width);
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()).collect()
}

fn press(state: &mut State, keys: &str) {
    for c in keys.chars() {
        state.on_key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
    }
}

#[test]
fn eighty_by_twenty_four_shows_who_is_slow_and_what_it_lost() {
    let lines = drawn(&state(), 80, 24);
    assert_eq!(lines.len(), 24);
    assert_eq!(lines[0], "fanwire 0.1.0 uring  up 60m  live");
    assert_eq!(lines[1], "clients 1020  behind 20  lost 0/s (9.12k)  out 204k/s  sent 0B/s");
    assert_eq!(lines[2], "first send 40µs/160µs  last 1.3ms/2.0ms  turn –  busy 93%");
    assert_eq!(
        lines[4].split_whitespace().collect::<Vec<_>>().join(" "),
        "CLIENT WORST LANE BEHIND BYTES DROPS CAUSE LOST WORK"
    );
    let first = &lines[5];
    for shown in ["0.17.1", "rover/1/imu", "████████·┃  78%", "3.28M", "9.5s", "reader", "9.12k", "1.6%"]
    {
        assert!(first.contains(shown), "{shown} is not in {first:?}");
    }
    assert!(first.chars().count() <= 80 && first.ends_with("1.6%"), "{first:?}");
    let text = lines.join("\n");
    for shown in ["192.0.2.7:50122", "subject u1", "6,400 messages", "rover/1/imu 3001–4200 −1,200", "q quit"] {
        assert!(text.contains(shown), "{shown} is not in\n{text}");
    }
}

#[test]
fn under_load_nothing_of_the_head_is_cut_off_and_no_figure_of_the_chosen_client() {
    let mut state = state();
    let large = |at: &str, n: &str| {
        SHARDS
            .replace("AT", at)
            .replace("DELIVERIES", n)
            .replace("\"connections\":1020", "\"connections\":99999")
            .replace("\"sent_bytes\":110000000", &format!("\"sent_bytes\":{n}000"))
            .replace("\"dropped_normal\":9120", &format!("\"dropped_normal\":{n}"))
            .replace(":40,", ":99900,")
            .replace("160,", "250000,")
            .replace(":1280,", ":99900,")
            .replace(":2048,", ":99900,")
            .replace("\"turn_us\":{\"count\":0}", "\"turn_us\":{\"count\":9,\"p50\":99900,\"p99\":99900}")
            .replace("0.93", "1.0")
    };
    state.take("$sys/shards", large("1796040002000", "400000").as_bytes());
    state.take("$sys/shards", large("1796040003000", "999400").as_bytes());
    let topic = "a/very/long/name/of/a/topic/that/nobody/can/read";
    let clients = CLIENTS.replace("rover/1/imu", topic).replace("\"behind\":20", "\"behind\":99999");
    state.take("$sys/clients", clients.as_bytes());
    let lines = drawn(&state, 80, 24);
    assert_eq!(lines[1], "clients 99999  behind 99999  lost 599k/s (999k)  out 599k/s  sent 599MB/s");
    assert!(lines[2].ends_with("busy 100%") && lines[2].contains("turn 99.9ms/99.9ms"), "{}", lines[2]);
    let lane = lines.iter().find(|line| line.contains("78% normal")).unwrap();
    assert!(lane.contains("… 6.40k "), "the number is there, the topic's end is not: {lane:?}");
}

#[test]
fn a_wide_terminal_has_more_columns() {
    let lines = drawn(&state(), 140, 50);
    assert!(lines[1].starts_with("clients 1020 of 10.0k  ") && lines[1].contains("deliveries 204k/s"), "{}", lines[1]);
    assert!(lines[2].ends_with("busiest shard ███████┃ 93%"), "{}", lines[2]);
    assert!(lines[0].ends_with("ws://127.0.0.1:9002/ws"));
    assert!(lines[4].contains("WHO") && lines[4].contains("LATEST LOST"));
    assert!(lines[5].contains("u1") && lines[5].contains("3001–4200"), "{}", lines[5]);
}

#[test]
fn what_others_say_moves_no_cursor() {
    let mut state = state();
    for view in ["1", "2", "3", "4"] {
        press(&mut state, view);
        for (width, height) in [(80, 24), (200, 60)] {
            for line in drawn(&state, width, height) {
                assert!(!line.contains(|c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)), "{line:?}");
            }
        }
    }
    press(&mut state, "1j");
    assert!(drawn(&state, 120, 40).join("\n").contains("a\\x1b[2J\\nb\\u{202e}"));
    let text = once::text(&state);
    assert!(text.contains("a\\x1b[2J\\nb\\u{202e}") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(text.lines().count(), 8);
}

#[test]
fn every_view_has_its_rows() {
    let mut state = state();
    press(&mut state, "2");
    let topics = drawn(&state, 80, 24);
    assert!(
        topics[5].contains("rover/1/imu") && topics[5].contains("91%") && topics[5].contains("normal"),
        "{}",
        topics[5]
    );
    press(&mut state, "3");
    let gaps = drawn(&state, 80, 24);
    assert!(gaps[5].contains("0.17.1") && gaps[5].contains("3001–4200") && gaps[5].contains("lag"), "{}", gaps[5]);
    press(&mut state, "4");
    let shards = drawn(&state, 80, 24);
    assert!(shards[6].contains("93%") && shards[6].contains("510"), "{}", shards[6]);
    press(&mut state, "1s");
    assert!(drawn(&state, 80, 24)[5].contains("1.9.9"));
    press(&mut state, "/zzz");
    let none = drawn(&state, 80, 24);
    assert!(none[3].contains("/zzz▏") && none[4].contains("Nothing that the filter lets through"), "{none:?}");
}

#[test]
fn a_question_and_the_help_stand_above_the_list() {
    let mut state = state();
    press(&mut state, "c");
    assert!(drawn(&state, 80, 24).join("\n").contains("Close client 0.17.1?"));
    press(&mut state, "n?");
    assert!(drawn(&state, 80, 24).join("\n").contains("clients by lag, or by work"));
}

#[test]
fn no_terminal_is_too_small() {
    let mut state = state();
    for (width, height) in [(1, 1), (3, 2), (20, 5), (79, 23), (300, 2)] {
        for keys in ["1", "2", "3", "4", "1c", "n?", "q"] {
            press(&mut state, keys);
            assert_eq!(drawn(&state, width, height).len(), usize::from(height));
        }
    }
    assert_eq!(drawn(&State::new(Sort::Lag), 80, 24)[0], "fanwire ws://127.0.0.1:9002/ws  connecting");
}
