//! The page that shows which models there are.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Run, command, fixture, millpond};

const CAPABILITIES: [&str; 5] =
    ["text-embedding", "text-to-text", "image-embedding", "vision", "text-to-image"];

/// With nothing in the cache.
fn list(options: &[&str]) -> Run {
    list_with(&TempDir::new().unwrap(), options)
}

fn list_with(cache: &TempDir, options: &[&str]) -> Run {
    let args = ["list"].iter().chain(options);
    Run::from(command(args).env("HF_HUB_CACHE", cache.path()).output().unwrap()).ok()
}

fn named<'a>(lines: &'a [Value], name: &str) -> &'a Value {
    lines.iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("{name} in {lines:?}"))
}

#[test]
fn the_page_has_a_table_for_each_capability_on_80_columns() {
    let page = list(&["--memory", "64GiB"]).stdout;
    for line in page.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let heads: Vec<&str> = page.lines().filter(|line| line.contains("  memory  fits ")).collect();
    let of = heads.iter().map(|head| head.split(' ').next().unwrap());
    assert_eq!(of.collect::<Vec<_>>(), CAPABILITIES, "{page}");
    let rows = |name: &str| page.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
    let [shipped] = rows("shapes-embed ")[..] else { panic!("{page}") };
    assert!(shipped.contains("  here ") && shipped.ends_with("MIT OR Apache-2.0"), "{shipped}");
    let [fetched] = rows("all-minilm-l6-v2 ")[..] else { panic!("{page}") };
    assert!(
        fetched.matches('~').count() == 2 && fetched.contains("  hub ") && fetched.ends_with("Apache-2.0"),
        "{fetched}"
    );
    assert_eq!(rows("clip-vit-l-14 ").len(), 2, "it embeds pictures and texts");
    for told in ["~        not checked", "millpond pull NAME", "fits     within 64.0 GiB;"] {
        assert!(page.contains(told), "{told}: {page}");
    }
}

#[test]
fn a_line_of_json_says_all_there_is_to_say() {
    let lines = list(&["--json"]).json();
    let names: BTreeSet<&str> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), lines.len(), "each once");
    let clip = named(&lines, "shapes-clip");
    assert_eq!(clip["capability"], "image-embedding");
    assert_eq!(clip["capabilities"], serde_json::json!(["image-embedding", "text-embedding"]));
    assert_eq!(
        (&clip["kind"], &clip["present"], &clip["fits"]),
        (&"folder".into(), &true.into(), &true.into())
    );
    let hub = named(&lines, "qwen3-0.6b");
    assert_eq!(
        (&hub["kind"], &hub["source"], &hub["present"]),
        (&"hub".into(), &"Qwen/Qwen3-0.6B".into(), &false.into())
    );
    assert_eq!(
        (&hub["architecture"], &hub["dtype"], &hub["license"]),
        (&"qwen3".into(), &"bf16".into(), &"Apache-2.0".into())
    );
    assert_eq!(hub["unchecked"].as_array().unwrap().len(), 7, "{hub}");
    let memory = |form: &str| hub["memory"][form].as_u64().unwrap();
    assert!(memory("f32") > memory("bf16") && memory("bf16") > memory("q4_k"));
}

#[test]
fn a_capability_is_asked_for_by_name() {
    for capability in CAPABILITIES {
        let lines = list(&["--json", "--capability", capability]).json();
        assert!(lines.len() > 2, "{capability}");
        let can = |line: &Value| line["capabilities"].as_array().unwrap().contains(&capability.into());
        assert!(lines.iter().all(can), "{capability}: {lines:?}");
    }
    let page = list(&["--capability", "vision"]).stdout;
    assert!(page.starts_with("vision ") && !page.contains("text-to-text"), "{page}");
}

#[test]
fn what_fits_depends_on_the_memory_there_is() {
    let lines = list(&["--json", "--memory", "1KiB"]).json();
    for line in &lines {
        assert_eq!(line["fits"], false, "{line}");
    }
    let of = |form: &str| named(&lines, "qwen3-0.6b")["memory"][form].as_u64().unwrap();
    let within = |bytes: u64| {
        let line = named(&list(&["--json", "--memory", &bytes.to_string()]).json(), "qwen3-0.6b").clone();
        (line["fits"].as_bool().unwrap(), line["with"].as_str().map(str::to_owned))
    };
    assert_eq!(within(of("q4_k")), (true, Some("--quantize q4_k".to_owned())));
    assert_eq!(within(of("q4_k") - 1), (false, Some("--quantize q4_k".to_owned())));
    let (fits, with) = within(of("bf16"));
    assert!(fits && with != Some("--quantize q4_k".to_owned()), "{with:?}");
    assert!(list(&["--memory", &of("q4_k").to_string()]).stdout.contains("  q4_k "));
}

#[test]
fn what_was_fetched_before_says_so() {
    let cache = TempDir::new().unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repo = cache.path().join("models--sentence-transformers--all-MiniLM-L6-v2");
    let snapshot = repo.join("snapshots").join(commit);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::write(repo.join("refs/main"), commit).unwrap();
    fs::copy(fixture("mean").join("config.json"), snapshot.join("config.json")).unwrap();
    let place = || named(&list_with(&cache, &["--json"]).json(), "all-minilm-l6-v2")["present"].clone();
    assert_eq!(place(), false, "without weights it cannot be served");
    fs::copy(fixture("mean").join("model.safetensors"), snapshot.join("model.safetensors")).unwrap();
    assert_eq!(place(), true);
    let page = list_with(&cache, &[]).stdout;
    let row = page.lines().find(|line| line.starts_with("all-minilm-l6-v2")).unwrap();
    assert!(row.contains("  cached "), "{row}");
}

#[test]
fn all_of_a_model_takes_several_lines() {
    let long = list(&["--long", "--capability", "text-to-image", "--memory", "4GiB"]).stdout;
    let (_, of) = long.split_once("\nsd-turbo\n").unwrap();
    for line in [
        "    does         text-to-image\n",
        "    network      stable-diffusion in f32\n",
        "    licence      Stability AI\n",
        "    where        hub: stabilityai/sd-turbo\n",
        "    not checked  architecture, dtype, license, memory, revision, sha256, size\n",
    ] {
        assert!(of.contains(line), "{line}: {long}");
    }
    let fits = of.lines().find_map(|line| line.strip_prefix("    fits         ")).unwrap();
    assert!(fits.starts_with("yes: 3.4 GiB of 4.0 GiB"), "{fits}");
    let quantized = list(&["--long", "--capability", "text-to-text", "--memory", "1GiB"]).stdout;
    let (_, of) = quantized.split_once("\nsmollm2-135m\n").unwrap();
    assert!(of.contains("    fits         yes: "), "{quantized}");
    let (_, of) = quantized.split_once("\nqwen3-4b\n").unwrap();
    assert!(of.contains("    fits         no: 3.4 GiB of 1.0 GiB, with --quantize q4_k\n"), "{quantized}");
    let both = millpond(["list", "--long", "--json"]);
    assert!(both.code == Some(2) && both.stderr.contains("cannot be used with"), "{both:?}");
}

#[test]
fn a_catalog_of_ones_own_needs_no_more_than_four_fields() {
    let folder = TempDir::new().unwrap();
    let manifest = |name: &str, source: &str| {
        let text = format!(
            "capability = 'text-embedding'\ndescription = 'x'\nlicense = 'MIT'\nsource = {{ {source} }}\n"
        );
        fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    };
    manifest("far", "hub = 'org/name@v1'");
    manifest("gone", "folder = 'gone'");
    manifest("near", &format!("folder = '{}'", fixture("mean").display()));
    let path = folder.path().to_str().unwrap();
    let lines = list(&["--json", "--catalog", path]).json();
    let [far, gone, near] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&far["source"], &far["kind"]), (&"org/name@v1".into(), &"hub".into()));
    assert_eq!((&far["fits"], &far["size"]), (&Value::Null, &Value::Null), "nobody knows");
    assert_eq!((&gone["kind"], &gone["present"]), (&"folder".into(), &false.into()));
    assert_eq!((&near["kind"], &near["present"]), (&"folder".into(), &true.into()));
    let page = list(&["--catalog", path]).stdout;
    assert!(page.contains("  missing  MIT") && page.contains("missing: its folder"), "{page}");
    let embedded = millpond(["embed", "-m", "near", "--catalog", path, "--json", "the mill"]).ok();
    assert_eq!(embedded.embeddings()[0].embedding.len(), 32);
    millpond(["embed", "-m", "gone", "--catalog", path, "x"]).failed("there is no \"gone\"");
}

#[test]
fn a_bad_manifest_is_told_by_file_and_field() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("bad.toml"), "capability = 'swimming'\n").unwrap();
    let run = millpond(["list", "--catalog", folder.path().to_str().unwrap()]);
    run.failed(
        "bad.toml, line 1, \"capability\": no capability is called \"swimming\"; there are text-embedding",
    );
}
