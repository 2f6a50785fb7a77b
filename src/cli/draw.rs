//! `millpond draw`: a text in, pictures out.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::failure::Failure;
use super::files::{check_folder, prompt_argument, read_tensor};
use super::follow::follow;
use super::interrupt::Interrupt;
use super::model::ModelArgs;
use super::output::{Output, warn};
use super::progress;
use crate::capability::{DrawRequest, Drawing, DrawnPicture, InitialNoise};
use crate::engine::Capabilities;
use crate::image::{Picture, encode_png};

/// Draw what a text describes
///
/// The picture goes to a PNG file, and its name to standard output. The model is a folder in the layout of diffusers;
/// steps, guidance and size are its own where they are not given. The same seed gives the same picture.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond draw -m stabilityai/sd-turbo \"a mill by a pond, oil on canvas\" --out mill.png
  millpond draw -m ./my-model --size 768x512 --steps 30 --guidance 6 --negative \"blurry\" --seed 7 \\
      \"a heron at dawn\" --out heron.png
  millpond draw -m ./my-model --n 4 --json \"a heron at dawn\" --out heron.png    (heron-1.png to heron-4.png)

--json prints one object for each picture:
  {\"index\":0,\"file\":\"heron.png\",\"width\":512,\"height\":512,\"seed\":7,\"steps\":50}")]
pub(super) struct Draw {
    #[command(flatten)]
    model: ModelArgs,
    /// What the picture shows; or `-` for all of standard input, as it is.
    #[arg(value_name = "PROMPT")]
    prompt: String,
    /// Where the picture goes, as PNG. Of several, each gets its number before the extension.
    #[arg(long, value_name = "FILE.png")]
    out: PathBuf,
    /// Width and height in pixels. Default: the model's own.
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<(u32, u32)>,
    /// How many denoising steps. Default: the model's own.
    #[arg(long, value_name = "N")]
    steps: Option<u32>,
    /// How strongly the prompt is followed; 1 or less: in one look, in half the time. Default: the model's own.
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// What the picture must not show.
    #[arg(long, value_name = "TEXT")]
    negative: Option<String>,
    /// The same number gives the same picture. Default: another one each time.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Begin with the tensor `latents` of this file, unit noise as f32, pictures x channels x height x width.
    #[arg(long, value_name = "FILE.safetensors")]
    latents: Option<PathBuf>,
    /// How many pictures, each from noise of its own.
    #[arg(long, value_name = "N", default_value_t = 1)]
    n: u32,
    /// How many of CLIP's last layers are left out.
    #[arg(long, value_name = "N", default_value_t = 0)]
    clip_skip: u32,
    /// Print JSON, one object for each picture.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    index: usize,
    file: &'a str,
    width: u32,
    height: u32,
    seed: u64,
    /// How often the denoiser looked.
    steps: u32,
}

/// `512x768`.
fn size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once(['x', 'X']).and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    sides.ok_or_else(|| "expected width and height in pixels, such as 512x768".to_owned())
}

impl Draw {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let interrupt = Interrupt::listen()?;
        let request = self.request()?;
        request.validate()?;
        check_folder(&self.out)?;
        let engine = self.model.engine(self.model.files()?, Capabilities::TextToImage)?;
        interrupt.orderly();
        let ticket = engine.text_to_image().submit(&self.model.model, request).map_err(crate::Error::from)?;
        let bar = progress::steps();
        let mut steps = 0;
        let drawn = follow(ticket, &interrupt, |step| {
            bar.set_length(u64::from(step.of));
            bar.set_position(u64::from(step.step));
            steps = step.of;
            Ok(())
        });
        bar.finish_and_clear();
        let drawing = drawn?.ok_or(Failure::Interrupted)?;
        if drawing.truncated {
            warn("the prompt is longer than the model reads; its end was left out");
        }
        self.write(&drawing, steps)
    }

    fn request(&self) -> Result<DrawRequest, Failure> {
        let mut request = DrawRequest::new(prompt_argument(&self.prompt)?);
        request.negative_prompt.clone_from(&self.negative);
        (request.size, request.steps, request.guidance) = (self.size, self.steps, self.guidance);
        (request.seed, request.n, request.clip_skip) = (self.seed, self.n, self.clip_skip);
        request.latents = self.latents.as_deref().map(latents).transpose()?;
        Ok(request)
    }

    fn write(&self, drawing: &Drawing, steps: u32) -> Result<(), Failure> {
        let mut output = Output::stdout();
        for (index, drawn) in drawing.pictures.iter().enumerate() {
            let path = self.path(index);
            let file = path.display().to_string();
            write_png(&path, drawn)?;
            if self.json {
                let DrawnPicture { width, height, .. } = *drawn;
                output.json(&Line { index, file: &file, width, height, seed: drawing.seed, steps })?;
            } else {
                output.line(&file)?;
            }
        }
        output.flush()
    }

    /// `mill.png`, or of several `mill-1.png` and so on.
    fn path(&self, index: usize) -> PathBuf {
        if self.n == 1 {
            return self.out.clone();
        }
        numbered(&self.out, index + 1)
    }
}

/// `mill.png` as `mill-2.png`.
fn numbered(file: &Path, number: usize) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let extension = file.extension().map_or_else(String::new, |end| format!(".{}", end.to_string_lossy()));
    file.with_file_name(format!("{stem}-{number}{extension}"))
}

/// The file is made anew.
pub(super) fn write_png(file: &Path, drawn: &DrawnPicture) -> Result<(), Failure> {
    let png = encode_png(&picture(drawn)?)?;
    fs::write(file, png).map_err(|source| Failure::Unwritable { file: file.display().to_string(), source })
}

pub(super) fn picture(drawn: &DrawnPicture) -> Result<Picture, Failure> {
    Ok(Picture::new(drawn.width, drawn.height, drawn.rgb.clone())?)
}

fn latents(file: &Path) -> Result<InitialNoise, Failure> {
    let (shape, values) = read_tensor(file, "latents")?;
    let found = format!("{shape:?}");
    let shape = <[usize; 4]>::try_from(shape).map_err(|_| Failure::NotATensor {
        file: file.display().to_string(),
        reason: format!("`latents` has shape {found}, not pictures x channels x height x width"),
    })?;
    Ok(InitialNoise { shape, values: values.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_picture_has_a_name_of_its_own() {
        for (file, second) in
            [("mill.png", "mill-2.png"), ("a/sd-1.5.png", "a/sd-1.5-2.png"), ("mill", "mill-2")]
        {
            assert_eq!(numbered(Path::new(file), 2), Path::new(second));
        }
    }
}
