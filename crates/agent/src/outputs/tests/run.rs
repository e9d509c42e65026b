use super::{
    Logged, Scene,
    exec::{PATIENCE, Said, soon},
    sources,
};
use crate::{
    failure::Cause,
    manager::Wanted,
    outputs::{
        Outputs,
        exec::{Exec, Exit, OnChange, Settings, Signal},
        file::{Content, File, Target},
        template::Template,
    },
    store::Freshness,
};
use std::time::{Duration, Instant};
use tokio::{sync::mpsc, time::timeout};

impl Scene {
    /// A file `f` with the secret `a`, and a process.
    fn outputs(&self, settings: Option<Settings>) -> Outputs {
        let text = "{{ (awsSecret \"m\" \"a\").Text }}\n";
        let content = Content::Template(Template::parse(text, &sources()).unwrap());
        let target = Target::new(&self.path("f")).unwrap();
        let file = crate::outputs::file::Settings { target, content, on_change: None };
        let files = vec![File::new(file, [], self.store.clone()).unwrap()];
        let exec = |settings| Exec::new(settings, self.own(), self.store.clone()).unwrap();
        Outputs { files, exec: settings.map(exec) }
    }

    /// A shell without secrets of its own, which knows the file as `FILE`.
    fn reader(&self, script: &str) -> Settings {
        let script = format!("FILE={}; {script}", self.path("f").display());
        let mut settings = self.shell(&script);
        settings.environment.clear();
        settings
    }
}

#[tokio::test]
async fn the_process_starts_when_the_files_are_there_and_is_told_when_they_change() {
    let scene = Scene::with(&[("a", "one")]);
    let mut said: Said = scene.lines();
    let mut settings = scene.reader(
        "trap 'cat \"$FILE\" > \"$OUT\"' USR2; cat \"$FILE\" > \"$OUT\"; while :; do sleep 60 > /dev/null 2>&1 & wait $!; done",
    );
    settings.on_change = OnChange::Signal(Signal::Usr2);
    let (told, receiver) = mpsc::channel(8);
    let running = tokio::spawn(scene.outputs(Some(settings)).run(receiver));
    assert_eq!(soon(said.next()).await, "one");
    let began = Instant::now();
    scene.change("a", "two").await;
    assert_eq!(soon(said.next()).await, "two");
    println!("from the change to the process with the new file: {:?}", began.elapsed());
    told.send(Signal::Term).await.unwrap();
    assert_eq!(soon(running).await.unwrap(), Ok(Exit { code: 128 + 15 }));
}

#[tokio::test]
async fn a_change_of_a_variable_and_a_file_starts_the_process_again_once() {
    let scene = Scene::with(&[("a", "one")]);
    let mut said: Said = scene.lines();
    let file = scene.path("f");
    let script = format!("echo \"$SECRET $(cat {})\" > \"$OUT\"; exec sleep 60", file.display());
    let (told, receiver) = mpsc::channel(8);
    let running = tokio::spawn(scene.outputs(Some(scene.shell(&script))).run(receiver));
    assert_eq!(soon(said.next()).await, "one one");
    scene.change("a", "two").await;
    assert_eq!(soon(said.next()).await, "two two");
    // A second start would say something before this one's is said.
    scene.change("a", "three").await;
    assert_eq!(soon(said.next()).await, "three three");
    told.send(Signal::Term).await.unwrap();
    soon(running).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn files_that_never_come_end_the_wait_in_time() {
    let scene = Scene::with(&[]);
    let mut settings = scene.reader("exit 0");
    settings.start_timeout = Duration::from_secs(50);
    let (_told, receiver) = mpsc::channel(8);
    let failure = scene.outputs(Some(settings)).run(receiver).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Unavailable);
    assert!(failure.message.starts_with("after 50 s of start_timeout not all files"), "{failure}");
}

#[tokio::test]
async fn without_a_process_files_are_kept_until_the_agent_is_told_to_end() {
    let scene = Scene::with(&[("a", "one")]);
    let (told, receiver) = mpsc::channel(8);
    let running = tokio::spawn(scene.outputs(None).run(receiver));
    told.send(Signal::Hup).await.unwrap();
    told.send(Signal::Term).await.unwrap();
    let ended = timeout(PATIENCE, running).await.unwrap().unwrap();
    assert_eq!(ended, Ok(Exit { code: 0 }));
}

#[tokio::test]
async fn files_can_be_written_once_and_everything_can_be_checked_without_a_trace() {
    let scene = Scene::with(&[("a", "one")]);
    let outputs = scene.outputs(Some(scene.shell("exit 0")));
    outputs.files[0].check().await.unwrap();
    outputs.exec.as_ref().unwrap().check().await.unwrap();
    assert!(!scene.path("f").exists());
    assert_eq!(outputs.write_once().await.unwrap(), 1);
    assert_eq!(outputs.write_once().await.unwrap(), 0);
    scene.manager.remove("a");
    let gone = scene.store.get("m", &Wanted::current("a"), Freshness::Now).await;
    assert_eq!(gone.unwrap_err().cause, Cause::NotFound);
    let failure = outputs.exec.as_ref().unwrap().check().await.unwrap_err();
    assert_eq!(failure.message, "environment: SECRET: a is not there");
    let error = outputs.write_once().await.unwrap_err().to_string();
    assert!(error.ends_with("/f: a is not there"), "{error}");
}

#[tokio::test]
async fn no_value_of_a_secret_is_logged_while_a_process_lives_with_it() {
    const CANARY: &str = "canary-77aa";
    let scene = Scene::with(&[("a", CANARY)]);
    let (logged, guard) = Logged::begin();
    let mut said: Said = scene.lines();
    let script = "echo up > \"$OUT\"; exec sleep 60";
    let (told, receiver) = mpsc::channel(8);
    let running = tokio::spawn(scene.outputs(Some(scene.shell(script))).run(receiver));
    soon(said.next()).await;
    scene.change("a", &format!("{CANARY}-2")).await;
    soon(said.next()).await;
    told.send(Signal::Term).await.unwrap();
    soon(running).await.unwrap().unwrap();
    drop(guard);
    let text = logged.text();
    assert!(text.contains("variables of the process changed") && text.contains("SECRET"), "{text}");
    assert!(!text.contains(CANARY), "{text}");
}
