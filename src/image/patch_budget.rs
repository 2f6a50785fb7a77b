//! Resizing pictures to as many whole patches as there may be, their shape nearly kept, as `SigLIP` 2 does it.

/// How large pictures become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PatchBudget {
    /// Both sides become multiples of this; at least 1.
    pub(super) patch: usize,
    /// How many squares of that side a picture may have; at least 1.
    pub(super) most: usize,
}

impl PatchBudget {
    /// Height and width that a picture of these sides is resized to: each multiplied by one scale and rounded up to
    /// whole patches, by the largest scale that the search of the reference finds, which ends at 100.
    pub(super) fn size_of(self, height: usize, width: usize) -> (usize, usize) {
        const NEAR: f64 = 1e-5;
        let (mut least, mut most) = (NEAR / 10.0, 100.0);
        while most - least >= NEAR {
            let scale = f64::midpoint(least, most);
            let patches = self.patches_of(height, scale).saturating_mul(self.patches_of(width, scale));
            if patches <= self.most {
                least = scale;
            } else {
                most = scale;
            }
        }
        (self.patches_of(height, least) * self.patch, self.patches_of(width, least) * self.patch)
    }

    /// How many patches lie along a side, scaled.
    fn patches_of(self, side: usize, scale: f64) -> usize {
        ((side as f64 * scale / self.patch as f64).ceil() as usize).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_reference() {
        let budget = PatchBudget { patch: 16, most: 256 };
        let size_of = |height, width| budget.size_of(height, width);
        assert_eq!((size_of(480, 640), size_of(43, 61)), ((224, 288), (208, 304)));
        assert_eq!((size_of(224, 224), size_of(16, 16)), ((256, 256), (256, 256)));
        assert_eq!((size_of(1080, 1920), size_of(4000, 3000)), ((192, 336), (288, 224)));
        assert_eq!((size_of(97, 3), size_of(2, 130)), ((1360, 48), (32, 2048)));
        assert_eq!((size_of(1, 8192), size_of(8192, 4882)), ((16, 4096), (336, 192)));
        assert_eq!(size_of(1, 1), (112, 112), "nothing grows more than a hundredfold, but to whole patches");
    }

    #[test]
    fn no_picture_has_more_patches_than_there_may_be() {
        for most in [1, 2, 7, 64, 256, 1024] {
            let budget = PatchBudget { patch: 16, most };
            for (height, width) in [(1, 1), (1, 8192), (8192, 1), (480, 640), (8192, 4882), (17, 31)] {
                let (tall, wide) = budget.size_of(height, width);
                assert!(tall % 16 == 0 && wide % 16 == 0 && tall > 0 && wide > 0);
                assert!(tall / 16 * (wide / 16) <= most, "{height} x {width}, {most}: {tall} x {wide}");
            }
        }
    }

    #[test]
    fn sides_that_no_picture_has_do_no_harm() {
        let budget = PatchBudget { patch: 1, most: 8192 };
        let most = u32::MAX as usize;
        assert_eq!((budget.size_of(most, most), budget.size_of(0, 0)), ((4295, 4295), (1, 1)));
    }
}
