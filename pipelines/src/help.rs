//! What the help of every pipeline says beside its options.

/// How options can be given.
pub(crate) const SETTINGS: &str = "\
Settings:
  An option can also be given as a variable (THALWEG_WORKERS, THALWEG_RATE, THALWEG_LOG_LEVEL,
  THALWEG_SETTINGS ...) or as a key under [run] in the settings file. The command line overrides
  the environment, and the environment overrides the file: a switch that one of them turns on is
  turned off by --quiet=false or THALWEG_QUIET=false. A variable that has nearly
  the name of one of these is refused.";

/// How a program ends.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  done; records that could not be processed are counted, and kept in dead_letters.jsonl
    1  failed while running
    2  could not start: a bad argument, a pipeline that cannot be built, something that cannot be
       read or written, a process that does not belong to the cluster; each error takes one line
       on standard error
    3  the cluster does not hold together: a process is missing, gone, stopped or hung; starting
       all of them again helps, which --supervise does
    4  another start of the pipeline, with the same checkpoints, has taken over
    5  could not start within --start-timeout, as a broker is away; starting again may help, which
       --supervise does
  130  interrupted twice; the first interrupt ends the run in good order, with 0";

/// What a pipeline of this name can be asked to do.
pub(crate) fn examples(name: &str) -> String {
    let lines = [
        (
            String::new(),
            "replay flat out, write to the default folder",
        ),
        (
            " --rate 1000x".to_owned(),
            "replay a thousand times as fast as it happened",
        ),
        (
            " --workers 4 --out four".to_owned(),
            "on four workers, into a folder of its own",
        ),
        (
            " backfill --out features".to_owned(),
            "write the features for training",
        ),
        (
            " check --settings prod.toml".to_owned(),
            "see whether a run could start",
        ),
        (
            format!(" graph --format dot | dot -Tsvg > {name}.svg"),
            "draw the graph",
        ),
    ];
    let width = lines
        .iter()
        .map(|(arguments, _)| arguments.len())
        .max()
        .unwrap_or(0)
        + name.len();
    let line = |(arguments, what): &(String, &str)| {
        format!("  {:<width$}  {what}", format!("{name}{arguments}"))
    };
    format!(
        "Examples:\n{}",
        lines.iter().map(line).collect::<Vec<_>>().join("\n")
    )
}
