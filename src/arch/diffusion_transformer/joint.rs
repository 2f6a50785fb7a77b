//! Blocks in which texts and pictures have layers of their own and meet in attention: all of SD3's, and FLUX's first.

use candle_core::{DType, Result, Tensor};

use super::config::Frame;
use super::heads::{Names, Projection};
use super::modulation::{Modulation, Part};
use super::sequence::{Kind, Sequence};
use crate::arch::encoder::{FeedForward, Gate};
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Linear, Norm};

/// The tokens of a batch between two blocks. Blocks write into them in place.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) sequence: Sequence,
    /// `[pictures x text, width]`
    pub(super) texts: Tensor,
    /// `[pictures x squares, width]`
    pub(super) pictures: Tensor,
    /// Where queries, keys and values are put: `[pictures x (text + squares), 3 x width]`.
    pub(super) joint: Tensor,
}

/// What a joint block has, where they differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Queries and keys are normalised.
    pub(super) head_norms: bool,
    /// Pictures attend to themselves once more.
    pub(super) twice: bool,
    /// Nothing comes after that would look at texts.
    pub(super) last: bool,
}

/// What the tokens of one kind have in a joint block.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamShape {
    /// How many times `width` numbers modulate them.
    pub(super) chunks: usize,
    /// Whether anything comes after attention.
    pub(super) after: bool,
}

impl Shape {
    pub(super) fn text(self) -> StreamShape {
        StreamShape { chunks: if self.last { 2 } else { 6 }, after: !self.last }
    }

    pub(super) fn picture(self) -> StreamShape {
        StreamShape { chunks: if self.twice { 9 } else { 6 }, after: true }
    }
}

#[derive(Debug)]
pub(super) struct JointBlock {
    text: Stream,
    picture: Stream,
    second: Option<Second>,
}

/// What the tokens of one kind go through.
#[derive(Debug)]
struct Stream {
    kind: Kind,
    modulation: Linear,
    projection: Projection,
    /// Nothing where nobody looks at the tokens afterwards.
    after: Option<After>,
}

/// What follows attention.
#[derive(Debug)]
struct After {
    output: Linear,
    feed_forward: FeedForward,
}

/// Attention of pictures to themselves.
#[derive(Debug)]
struct Second {
    projection: Projection,
    output: Linear,
}

/// What a checkpoint calls the parts of a stream.
struct StreamNames {
    kind: Kind,
    modulation: &'static str,
    projection: Names,
    output: &'static str,
    up: &'static str,
    down: &'static str,
}

const TEXT: StreamNames = StreamNames {
    kind: Kind::Text,
    modulation: "norm1_context.linear",
    projection: Names {
        layers: ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
        norms: ["attn.norm_added_q", "attn.norm_added_k"],
    },
    output: "attn.to_add_out",
    up: "ff_context.net.0.proj",
    down: "ff_context.net.2",
};

const PICTURE: StreamNames = StreamNames {
    kind: Kind::Picture,
    modulation: "norm1.linear",
    projection: Names::USUAL,
    output: "attn.to_out.0",
    up: "ff.net.0.proj",
    down: "ff.net.2",
};

const SECOND: Names =
    Names { layers: ["attn2.to_q", "attn2.to_k", "attn2.to_v"], norms: ["attn2.norm_q", "attn2.norm_k"] };

impl Streams {
    /// Of tokens just embedded, which nothing else shares.
    pub(super) fn new(sequence: Sequence, texts: Tensor, pictures: Tensor) -> Result<Self> {
        let shape = (sequence.pictures * sequence.tokens(), 3 * texts.dim(1)?);
        let joint = Tensor::zeros(shape, DType::F32, texts.device())?;
        Ok(Self { sequence, texts, pictures, joint })
    }
}

impl JointBlock {
    pub(super) fn load(
        scope: &Scope<'_>,
        frame: &Frame,
        shape: Shape,
    ) -> std::result::Result<Self, ArchError> {
        let width = frame.width();
        let second = || -> std::result::Result<_, ArchError> {
            let projection = Projection::load(scope, frame, SECOND, shape.head_norms)?;
            Ok(Second { projection, output: scope.linear("attn2.to_out.0", width, width, Bias::Present)? })
        };
        Ok(Self {
            text: Stream::load(scope, frame, &TEXT, shape.text(), shape.head_norms)?,
            picture: Stream::load(scope, frame, &PICTURE, shape.picture(), shape.head_norms)?,
            second: shape.twice.then(second).transpose()?,
        })
    }

    /// `signals` are `[pictures, width]`; where places are `angles`, they are those of a picture's tokens and of its
    /// text's before them.
    pub(super) fn forward(&self, streams: &Streams, signals: &Tensor, angles: Option<&Tensor>) -> Result<()> {
        let texts = Modulation::of(&self.text.modulation, signals)?;
        let pictures = Modulation::of(&self.picture.modulation, signals)?;
        let Streams { sequence, joint, .. } = streams;
        self.text.project(&streams.texts, *sequence, &texts, angles, joint)?;
        self.picture.project(&streams.pictures, *sequence, &pictures, angles, joint)?;
        let attended = self.picture.projection.attend(joint, &sequence.spans())?;
        // Of pictures as they came into the block, so before anything is added to them.
        let second = match &self.second {
            Some(second) => Some((&second.output, second.attend(streams, &pictures)?)),
            None => None,
        };
        self.text.finish(&streams.texts, *sequence, &texts, &attended, None)?;
        self.picture.finish(
            &streams.pictures,
            *sequence,
            &pictures,
            &attended,
            second.as_ref().map(|(output, xs)| (*output, xs)),
        )
    }
}

impl Stream {
    fn load(
        scope: &Scope<'_>,
        frame: &Frame,
        names: &StreamNames,
        StreamShape { chunks, after: with_after }: StreamShape,
        head_norms: bool,
    ) -> std::result::Result<Self, ArchError> {
        let (width, inner) = (frame.width(), frame.inner());
        let after = || -> std::result::Result<_, ArchError> {
            let feed_forward = FeedForward {
                up: scope.linear(names.up, width, inner, Bias::Present)?,
                down: scope.linear(names.down, inner, width, Bias::Present)?,
                activation: Activation::GeluTanh,
                gate: Gate::Absent,
            };
            Ok(After { output: scope.linear(names.output, width, width, Bias::Present)?, feed_forward })
        };
        Ok(Self {
            kind: names.kind,
            modulation: scope.linear(names.modulation, width, chunks * width, Bias::Present)?,
            projection: Projection::load(scope, frame, names.projection, head_norms)?,
            after: with_after.then(after).transpose()?,
        })
    }

    /// What attention is given of each picture's tokens.
    fn norms(&self, modulations: &[Modulation]) -> Result<Vec<Norm>> {
        match self.after {
            Some(_) => Modulation::norms(modulations, Part::Attention),
            None => Modulation::last_norms(modulations),
        }
    }

    /// Puts queries, keys and values of `xs` into their rows of `joint`.
    fn project(
        &self,
        xs: &Tensor,
        sequence: Sequence,
        modulations: &[Modulation],
        angles: Option<&Tensor>,
        joint: &Tensor,
    ) -> Result<()> {
        let norms = self.norms(modulations)?;
        for piece in sequence.pieces(self.kind) {
            let angles = angles.map(|angles| piece.of_table(angles)).transpose()?;
            let normed = norms[piece.picture].forward(&piece.own(xs)?)?;
            joint.slice_set(&self.projection.forward(&normed, angles.as_ref())?, 0, piece.joint)?;
        }
        Ok(())
    }

    /// Adds to `xs` what attention has found, and then what the feed-forward part makes of it. `second` is what
    /// pictures have found by themselves, behind the layer that it goes through.
    fn finish(
        &self,
        xs: &Tensor,
        sequence: Sequence,
        modulations: &[Modulation],
        attended: &Tensor,
        second: Option<(&Linear, &Tensor)>,
    ) -> Result<()> {
        let Some(After { output, feed_forward }) = &self.after else { return Ok(()) };
        let norms = Modulation::norms(modulations, Part::FeedForward)?;
        for piece in sequence.pieces(self.kind) {
            let (xs, modulation) = (piece.own(xs)?, &modulations[piece.picture]);
            modulation.add(&xs, &output.forward(&piece.joint(attended)?)?, Part::Attention)?;
            if let Some((output, attended)) = second {
                modulation.add(&xs, &output.forward(&piece.own(attended)?)?, Part::SecondAttention)?;
            }
            let normed = norms[piece.picture].forward(&xs)?;
            modulation.add(&xs, &feed_forward.forward(&normed)?, Part::FeedForward)?;
        }
        Ok(())
    }
}

impl Second {
    /// `[pictures x squares, width]`. Uses the rows of `joint` again.
    fn attend(&self, streams: &Streams, modulations: &[Modulation]) -> Result<Tensor> {
        let alone = Sequence { text: 0, ..streams.sequence };
        let norms = Modulation::norms(modulations, Part::SecondAttention)?;
        let joint = streams.joint.narrow(0, 0, alone.pictures * alone.squares)?;
        for piece in alone.pieces(Kind::Picture) {
            let normed = norms[piece.picture].forward(&piece.own(&streams.pictures)?)?;
            joint.slice_set(&self.projection.forward(&normed, None)?, 0, piece.joint)?;
        }
        self.projection.attend(&joint, &alone.spans())
    }
}
