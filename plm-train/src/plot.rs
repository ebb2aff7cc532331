//! The curve of a run's losses.

use std::fs;
use std::io;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::register_font;

use crate::Error;
use crate::metrics::History;

/// Width and height, in pixels.
const SIZE: (u32, u32) = (1000, 600);

/// The name under which the font is known to plotters.
const FONT: &str = "plm-train";

/// A run has about so many spans of which its losses are averaged.
const SPANS: usize = 40;

const TRAINING: RGBColor = RGBColor(31, 88, 160);
const VALIDATION: RGBColor = RGBColor(204, 71, 28);

/// Draws the losses that `metrics.jsonl` of some runs hold into a PNG: those of training, smoothed
/// ones and those of evaluations. The runs are drawn one after the other, as the stages of a recipe.
///
/// Steps that a run made again after a crash count once.
///
/// # Errors
///
/// [`Error::Read`] for a file; [`Error::NoSteps`] for one that is not of a run, or when there is no
/// file; [`Error::Write`] for the picture.
pub fn plot_metrics(files: &[impl AsRef<Path>], out: impl AsRef<Path>) -> Result<(), Error> {
    let out = out.as_ref();
    let files = files.iter().map(AsRef::as_ref);
    let runs: Vec<Run> = files.map(Run::read).collect::<Result<_, _>>()?;
    if runs.is_empty() {
        return Err(Error::NoSteps {
            path: out.to_owned(),
        });
    }
    let mut pixels = vec![u8::MAX; (SIZE.0 * SIZE.1 * 3) as usize];
    let picture = register_font(FONT, FontStyle::Normal, epaint_default_fonts::HACK_REGULAR)
        .map_err(|_| io::Error::other("the font of the axes cannot be read"))
        .and_then(|()| draw(&runs, &mut pixels).map_err(io::Error::other))
        .and_then(|()| encode(&pixels));
    picture
        .and_then(|png| fs::write(out, png))
        .map_err(|source| Error::Write {
            path: out.to_owned(),
            source,
        })
}

struct Run {
    name: String,
    history: History,
}

impl Run {
    /// A run is called as its folder is.
    fn read(path: &Path) -> Result<Self, Error> {
        let folder = path.parent().and_then(Path::file_name);
        let name = folder.or(path.file_name()).unwrap_or_default();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            history: History::read(path)?,
        })
    }
}

fn draw(
    runs: &[Run],
    pixels: &mut [u8],
) -> Result<(), DrawingAreaErrorKind<<BitMapBackend<'static> as DrawingBackend>::ErrorType>> {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let steps: usize = runs.iter().map(|run| run.history.steps()).sum();
    let losses = runs.iter().flat_map(|run| {
        let History {
            training,
            validation,
        } = &run.history;
        training.values().chain(validation.values()).copied()
    });
    let highest = losses.fold(0.0, f64::max).max(f64::MIN_POSITIVE);

    let root = BitMapBackend::with_buffer(pixels, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title(&names), (FONT, 22))
        .margin(16)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(0..steps.max(1), 0.0..highest * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("loss (mean cross-entropy of a token)")
        .x_labels(10)
        .y_labels(10)
        // Lines between those with numbers: none. With 0, plotters 0.3.7 looks for an end forever.
        .max_light_lines(1)
        .bold_line_style(BLACK.mix(0.12))
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .draw()?;

    let mut begin = 0;
    for (number, run) in runs.iter().enumerate() {
        let training = || run.history.training.iter().map(|(&i, &loss)| (i, loss));
        let place = |(i, loss): (usize, f64)| (begin + i, loss);
        let raw = LineSeries::new(training().map(place), TRAINING.mix(0.3));
        let smoothed = smooth(training());
        let smoothed = smoothed.into_iter().map(place);
        let smoothed = LineSeries::new(smoothed, TRAINING.stroke_width(2));
        let points = run.history.validation.iter();
        let points =
            points.map(|(&i, &loss)| Circle::new(place((i, loss)), 4, VALIDATION.filled()));
        if number > 0 {
            let line = vec![(begin, 0.0), (begin, highest * 1.05)];
            chart.draw_series(LineSeries::new(line, BLACK.mix(0.4)))?;
        }
        // One entry of the legend stands for all runs.
        let line = |style: ShapeStyle| move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style);
        let raw = chart.draw_series(raw)?;
        if number == 0 {
            raw.label("training").legend(line(TRAINING.mix(0.3).into()));
        }
        let smoothed = chart.draw_series(smoothed)?;
        if number == 0 {
            smoothed
                .label("training, smoothed")
                .legend(line(TRAINING.stroke_width(2)));
        }
        let evaluated = runs[..number]
            .iter()
            .all(|run| run.history.validation.is_empty());
        let is_first = evaluated && !run.history.validation.is_empty();
        let validation = chart.draw_series(points)?;
        if is_first {
            validation
                .label("validation")
                .legend(|(x, y)| Circle::new((x + 10, y), 4, VALIDATION.filled()));
        }
        begin += run.history.steps();
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font((FONT, 14))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()
}

/// What stands above the curve, where not more than some names fit.
fn title(names: &[&str]) -> String {
    match names {
        [first, _, _, .., last] => {
            format!("Loss of {} runs, from {first} to {last}", names.len())
        }
        _ => format!("Loss of {}", names.join(", then ")),
    }
}

/// Averages of spans around each step, which at both ends of a run are shorter, so that the curve lies
/// on the losses where these rise or fall in a line.
fn smooth(losses: impl Iterator<Item = (usize, f64)>) -> Vec<(usize, f64)> {
    let losses: Vec<_> = losses.collect();
    let most = losses.len() / SPANS / 2;
    let average = |(at, &(step, _)): (usize, &(usize, f64))| {
        let half = most.min(at).min(losses.len() - 1 - at);
        let span = &losses[at - half..=at + half];
        let sum: f64 = span.iter().map(|(_, loss)| loss).sum();
        (step, sum / span.len() as f64)
    };
    losses.iter().enumerate().map(average).collect()
}

fn encode(pixels: &[u8]) -> io::Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn titles_of_many_runs_are_short() {
        assert_eq!(title(&["a"]), "Loss of a");
        assert_eq!(title(&["a", "b", "c"]), "Loss of a, then b, then c");
        let many = ["1-tiles", "2", "3", "4-decay"];
        assert_eq!(title(&many), "Loss of 4 runs, from 1-tiles to 4-decay");
    }

    /// A file of losses that fall, and an evaluation if there is one.
    fn write(path: &Path, steps: usize, validation: Option<f64>) {
        let mut text = String::new();
        for i in 0..steps {
            let loss = 4.0 / (1.0 + i as f64);
            writeln!(text, "{{\"step\":{i},\"loss\":{loss},\"num_labels\":1}}").unwrap();
        }
        if let Some(loss) = validation {
            writeln!(text, "{{\"step\":{steps},\"loss\":{loss},\"answers\":[]}}").unwrap();
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// How many pixels of a picture are of a colour.
    fn count(png: &Path, colour: RGBColor) -> usize {
        let file = io::BufReader::new(fs::File::open(png).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), SIZE);
        let wanted = [colour.0, colour.1, colour.2];
        pixels.chunks(3).filter(|pixel| *pixel == wanted).count()
    }

    #[test]
    fn losses_and_evaluations_are_drawn_run_after_run() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["one", "two"].map(|name| dir.path().join(name).join("metrics.jsonl"));
        write(&files[0], 60, None);
        write(&files[1], 30, Some(2.0));
        let out = dir.path().join("loss.png");
        plot_metrics(&files[..1], &out).unwrap();
        assert!(count(&out, TRAINING) > 300);
        assert_eq!(count(&out, VALIDATION), 0);
        // Text is drawn in black.
        assert!(count(&out, BLACK) > 500);
        plot_metrics(&files, &out).unwrap();
        // A point, and one in the legend.
        assert!(count(&out, VALIDATION) > 60);
    }

    #[test]
    fn a_single_step_is_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("metrics.jsonl");
        write(&file, 1, None);
        plot_metrics(&[file], dir.path().join("loss.png")).unwrap();
    }

    #[test]
    fn what_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("metrics.jsonl");
        let error = plot_metrics(&[&file], "loss.png").unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl: cannot be read"), "{error}");
        write(&file, 3, None);
        let out = dir.path().join("nowhere/loss.png");
        let error = plot_metrics(&[&file], out).unwrap_err().to_string();
        assert!(
            error.contains("nowhere/loss.png: cannot be written"),
            "{error}"
        );
    }

    #[test]
    fn averages_lie_on_a_line_and_level_the_rest() {
        let line: Vec<_> = (0..200).map(|i| (i, 5.0 - i as f64 / 64.0)).collect();
        for (found, expected) in smooth(line.iter().copied()).iter().zip(&line) {
            assert!(found.0 == expected.0 && (found.1 - expected.1).abs() < 1e-12);
        }
        let rough = (0..200).map(|i| (i, [1.0, 2.0, 3.0][i % 3]));
        let level = |&(_, loss): &(usize, f64)| (loss - 2.0).abs() < 0.21;
        assert!(smooth(rough).iter().skip(2).take(196).all(level));
    }
}
