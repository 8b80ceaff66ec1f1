//! `socketmesh top`: shows the cluster live in a terminal, as a node sees it.

mod screen;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use self::screen::Screen;
use crate::admin_client::{AdminClient, AdminOptions};
use crate::process::{BoxError, StopSignals};
use crate::status::ClusterState;

#[derive(Debug, Args)]
#[command(after_help = "\
Keys: up and down scroll, left and right choose the column to sort by, r reverses, q or Esc ends.")]
pub(crate) struct Options {
    #[command(flatten)]
    admin: AdminOptions,
}

/// # Errors
/// There is no terminal, or it cannot be drawn on.
pub(crate) async fn run(options: &Options) -> Result<(), BoxError> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return Err("top needs a terminal; `socketmesh status` prints the same once".into());
    }
    let client = options.admin.client()?;
    // It is restored on a panic, too.
    let mut terminal = ratatui::try_init()?;
    let mut screen = Screen::new(client.address());
    let mut stop = StopSignals::new()?;
    let (mut keys, mut states) = (follow_keys(), follow_cluster(client));
    let ended = loop {
        if let Err(error) = terminal.draw(|frame| screen.draw(frame)) {
            break Err(error.into());
        }
        tokio::select! {
            key = keys.recv() => match key {
                Some(event) => if handle(&mut screen, &event) { break Ok(()) },
                None => break Err("the terminal is gone".into()),
            },
            Some((at, state)) = states.recv() => screen.update(at, state),
            stopped = stop.next() => break stopped.map_err(BoxError::from),
        }
    };
    ratatui::restore();
    ended
}

/// Whether that was the end.
fn handle(screen: &mut Screen, event: &Event) -> bool {
    // Whatever else happens, such as a new size, is drawn.
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else { return false };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Left => screen.sort_by_neighbour(-1),
        KeyCode::Right => screen.sort_by_neighbour(1),
        KeyCode::Char('r') => screen.reverse(),
        KeyCode::Up | KeyCode::Char('k') => screen.scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => screen.scroll(1),
        KeyCode::PageUp => screen.scroll(-10),
        KeyCode::PageDown => screen.scroll(10),
        KeyCode::Home => screen.scroll(isize::MIN),
        KeyCode::End => screen.scroll(isize::MAX),
        _ => {}
    }
    false
}

/// What happens at the terminal. Reading blocks, so it has a thread, which ends with the process.
fn follow_keys() -> mpsc::Receiver<Event> {
    let (tell, events) = mpsc::channel(16);
    std::thread::spawn(move || while event::read().is_ok_and(|event| tell.blocking_send(event).is_ok()) {});
    events
}

/// The cluster every second, or why it is not known.
fn follow_cluster(client: AdminClient) -> mpsc::Receiver<(Instant, Result<ClusterState, String>)> {
    let (tell, states) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let state = client.get("/cluster").await.map_err(|error| error.to_string());
            if tell.send((Instant::now(), state)).await.is_err() {
                return;
            }
            sleep(INTERVAL).await;
        }
    });
    states
}

const INTERVAL: Duration = Duration::from_secs(1);
