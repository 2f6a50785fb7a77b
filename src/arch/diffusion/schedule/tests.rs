use std::path::Path;

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Fixture {
    start: Vec<f32>,
    outputs: Vec<Vec<f32>>,
    noise: Vec<Vec<f32>>,
    cases: Vec<Case>,
}

/// What the reference did.
#[derive(Deserialize)]
struct Case {
    config: String,
    steps: usize,
    tokens: usize,
    levels: String,
    times: Vec<f32>,
    scale: f32,
    inputs: Vec<Vec<f32>>,
    samples: Vec<Vec<f32>>,
}

fn fixture() -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/diffusion/schedules.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn schedule(config: &str, reading: Reading) -> Result<Schedule, ArchError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("scheduler_config.json"), config).unwrap();
    Schedule::read(&ModelFolder::local(folder.path()).unwrap(), reading)
}

/// The largest difference, in parts of one or of the largest number.
fn difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(1.0f32, |most, x| most.max(x.abs()));
    got.iter().zip(expected).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f32::max)
}

#[test]
fn every_schedule_and_option_agrees_with_the_reference() {
    let Fixture { start, outputs, noise, cases } = fixture();
    for case in cases {
        let schedule =
            schedule(&case.config, Reading::AsWritten).unwrap_or_else(|e| panic!("{e}: {}", case.config));
        let levels = if case.levels == "even" { Levels::Even } else { Levels::Trained };
        let mut denoising = schedule.begin(case.steps, case.tokens, levels);
        let told = || format!("{} steps of {}", case.steps, case.config);
        assert!(difference(&[denoising.initial_scale()], &[case.scale]) < 1e-5, "{}", told());
        let mut latents: Vec<f32> = start.iter().map(|x| x * denoising.initial_scale()).collect();
        let mut times = Vec::new();
        let mut most = 0.0f32;
        while !denoising.is_done() {
            let at = denoising.done();
            times.push(denoising.time());
            let seen: Vec<f32> = latents.iter().map(|x| x * denoising.input_scale()).collect();
            most = most.max(difference(&seen, &case.inputs[at]));
            let noise = if denoising.wants_noise() { noise[at].as_slice() } else { &[] };
            denoising.step(&mut latents, &outputs[at], noise);
            most = most.max(difference(&latents, &case.samples[at]));
        }
        assert!(difference(&times, &case.times) < 1e-5, "{times:?}, not {:?}: {}", case.times, told());
        println!("{most:.1e} {}", told());
        assert!(most < 1e-4, "{most}: {}", told());
    }
}

#[test]
fn stable_diffusion_clips_nothing_and_begins_at_one() {
    let old = r#"{"_class_name": "DDIMScheduler"}"#;
    let begin = |reading| schedule(old, reading).unwrap().begin(4, 1, Levels::Trained);
    assert_eq!((begin(Reading::AsWritten).time(), begin(Reading::StableDiffusion).time()), (750.0, 751.0));
    let mut far = [9.0];
    begin(Reading::StableDiffusion).step(&mut far, &[0.0], &[]);
    assert!(far[0] > 9.0);
}

#[test]
fn an_option_that_a_schedule_does_not_have_changes_nothing() {
    let course = |option: &str| {
        let config = format!(r#"{{"_class_name": "PNDMScheduler", "skip_prk_steps": true{option}}}"#);
        let mut denoising = schedule(&config, Reading::AsWritten).unwrap().begin(6, 1, Levels::Trained);
        let mut latents = [0.5, -1.5];
        while !denoising.is_done() {
            denoising.step(&mut latents, &[0.3, -0.2], &[]);
        }
        latents.map(f32::to_bits)
    };
    assert_eq!(course(r#", "rescale_betas_zero_snr": true"#), course(""));
    assert_ne!(course(r#", "beta_end": 0.03"#), course(""));
}

#[test]
fn hostile_configurations_are_refused_and_odd_step_counts_survive() {
    for (wrong, name) in [
        ("{}", "noise schedule"),
        (r#"{"_class_name": "HeunDiscreteScheduler"}"#, "HeunDiscreteScheduler"),
        (r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 0}"#, "num_train_timesteps"),
        (r#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 4000000000}"#, "num_train_timesteps"),
        (r#"{"_class_name": "DDIMScheduler", "steps_offset": 1000}"#, "steps_offset"),
        (r#"{"_class_name": "DDIMScheduler", "beta_start": -1}"#, "beta_start"),
        (
            r#"{"_class_name": "DDIMScheduler", "trained_betas": [0.1, 2.0], "num_train_timesteps": 2}"#,
            "beta_start",
        ),
        (r#"{"_class_name": "DDIMScheduler", "trained_betas": [0.1]}"#, "trained_betas"),
        (r#"{"_class_name": "EulerDiscreteScheduler", "sigma_min": -1}"#, "sigma_min"),
        (r#"{"_class_name": "DPMSolverMultistepScheduler", "solver_order": 4}"#, "solver_order"),
        (r#"{"_class_name": "LCMScheduler", "original_inference_steps": 0}"#, "original_inference_steps"),
        (r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 0}"#, "shift"),
        (r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1e-300}"#, "shift"),
        (
            r#"{"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": true, "use_exponential_sigmas": true}"#,
            "use_exponential_sigmas",
        ),
        (
            r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": true, "max_shift": 1e9}"#,
            "shift",
        ),
        (r#"{"_class_name": 3}"#, "scheduler_config.json"),
    ] {
        let error = schedule(wrong, Reading::AsWritten).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    for Case { config, .. } in fixture().cases {
        let schedule = schedule(&config, Reading::AsWritten).unwrap();
        for steps in [*schedule.steps().start(), 3, 17, *schedule.steps().end()] {
            let mut denoising = schedule.begin(steps, usize::MAX, Levels::Even);
            let mut latents = [0.5, -1.5];
            while !denoising.is_done() {
                let noise: &[f32] = if denoising.wants_noise() { &[0.1, 0.2] } else { &[] };
                let (at, time) = (denoising.done(), denoising.time());
                denoising.step(&mut latents, &[0.3, -0.2], noise);
                let finite = time.is_finite() && latents.iter().all(|latent| latent.is_finite());
                assert!(finite, "{latents:?} at {time}, step {at} of {steps}: {config}");
            }
        }
    }
}
