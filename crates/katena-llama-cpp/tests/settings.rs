//! Settings, metadata, memory and adapters, on tiny models.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at once"
)]

use std::path::Path;

use katena_core::{ChatModel, ChatRequest, Error, ErrorKind, Message};
use katena_gguf::{TensorPlan, TensorType, Value, Writer};
use katena_llama_cpp::{
    CachePlace, CacheType, FlashAttention, LlamaChat, LlamaOptions, ModelMetadata, RopeMethod, RopeScaling,
    SplitMode, Weights, devices,
};
use katena_testkit::fixtures::temp_dir;
use katena_testkit::tiny::{TinyLlama, TinyLora, bytes, tiny_llama};

fn options() -> LlamaOptions {
    LlamaOptions::new().with_threads(1).with_context_tokens(256)
}

/// A model whose heads have 32 numbers: a whole block.
fn wide(folder: &Path) -> std::path::PathBuf {
    TinyLlama::new().with_width(64).write(folder.join("wide.gguf"))
}

async fn answer(path: &Path, options: LlamaOptions) -> String {
    let model = LlamaChat::load(path, options).unwrap();
    let request =
        ChatRequest::new([Message::user("What is there?")]).with_temperature(0.0).with_max_tokens(24);
    format!("{:?}", model.generate(&request).await.unwrap().message.parts)
}

fn refused(path: &Path, options: LlamaOptions) -> Error {
    LlamaChat::load(path, options).expect_err("this is refused")
}

#[tokio::test]
async fn flash_attention_threads_ubatch_and_weights_do_not_change_the_answer() {
    let folder = temp_dir();
    let path = wide(folder.path());
    let plain = answer(&path, options()).await;
    for changed in [
        options().with_flash_attention(FlashAttention::On),
        options().with_flash_attention(FlashAttention::Off),
        options().with_ubatch_tokens(8),
        options().with_batch_threads(2),
        options().with_weights(Weights::Copied),
        options().with_cache_place(CachePlace::Main),
        options().with_cache_types(CacheType::F32, CacheType::F32),
    ] {
        assert_eq!(answer(&path, changed.clone()).await, plain, "{changed:?}");
    }
}

#[tokio::test]
async fn every_cache_type_computes_and_smaller_ones_take_less_memory() {
    let folder = temp_dir();
    let path = wide(folder.path());
    let mut before = u64::MAX;
    for kind in [
        CacheType::F32,
        CacheType::F16,
        CacheType::Q8_0,
        CacheType::Q5_1,
        CacheType::Q5_0,
        CacheType::Q4_1,
        CacheType::Q4_0,
    ] {
        let options = options().with_cache_types(kind, kind);
        let estimate = LlamaChat::estimate(&path, &options).unwrap();
        assert!(estimate.cache_bytes < before, "{kind:?}");
        before = estimate.cache_bytes;
        assert!(answer(&path, options).await.len() > 10, "{kind:?}");
    }
    assert!(answer(&path, options().with_cache_types(CacheType::Bf16, CacheType::Bf16)).await.len() > 10);
    // Keys alone may be quantised without flash attention.
    let keys =
        options().with_cache_types(CacheType::Q8_0, CacheType::F16).with_flash_attention(FlashAttention::Off);
    assert!(answer(&path, keys).await.len() > 10);
}

#[test]
fn cache_types_that_would_stop_the_process_are_refused() {
    let folder = temp_dir();
    let path = wide(folder.path());
    let values =
        options().with_cache_types(CacheType::F16, CacheType::Q8_0).with_flash_attention(FlashAttention::Off);
    assert_eq!(refused(&path, values).kind(), ErrorKind::Config);
    // Heads of 16 numbers are half a block.
    let narrow = tiny_llama(folder.path());
    for (keys, values) in [(CacheType::Q8_0, CacheType::F16), (CacheType::F16, CacheType::Q4_0)] {
        for flash in [FlashAttention::Auto, FlashAttention::On] {
            let e = refused(&narrow, options().with_cache_types(keys, values).with_flash_attention(flash));
            assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
            assert_eq!(e.context("head_length"), Some("16"));
        }
    }
}

#[test]
fn settings_out_of_range_or_of_missing_devices_are_refused() {
    let folder = temp_dir();
    let path = tiny_llama(folder.path());
    for bad in [
        options().with_ubatch_tokens(0),
        options().with_ubatch_tokens(8193),
        options().with_batch_threads(0),
        options().with_batch_threads(513),
        options().with_rope_scaling(RopeScaling::new(RopeMethod::Yarn, 1.0)),
        options().with_rope_scaling(RopeScaling::new(RopeMethod::Yarn, f32::NAN)),
        options().with_rope_scaling(RopeScaling::new(RopeMethod::Linear, 1e9)),
    ] {
        assert_eq!(refused(&path, bad.clone()).kind(), ErrorKind::Config, "{bad:?}");
    }
    let gpu = devices().unwrap().iter().any(|d| {
        matches!(d.kind, katena_llama_cpp::DeviceKind::Gpu | katena_llama_cpp::DeviceKind::IntegratedGpu)
    });
    let missing = refused(&path, options().with_devices(["no such device"]));
    assert_eq!(missing.kind(), ErrorKind::Unsupported);
    if !gpu {
        for bad in [
            options().with_gpu_layers(1),
            options().with_split_mode(SplitMode::Row),
            options().with_main_gpu(1),
        ] {
            let e = refused(&path, bad.clone());
            assert_eq!(e.kind(), ErrorKind::Unsupported, "{bad:?}");
            assert!(e.to_string().contains("cuda"), "says how: {e}");
        }
    }
}

#[tokio::test]
async fn a_scaled_context_is_longer_than_the_training_and_computes() {
    let folder = temp_dir();
    let path = tiny_llama(folder.path());
    let long = options().with_context_tokens(1024);
    assert_eq!(refused(&path, long.clone()).kind(), ErrorKind::Config, "trained for 512");
    for method in [RopeMethod::Linear, RopeMethod::Yarn] {
        let scaled = long.clone().with_rope_scaling(RopeScaling::new(method, 2.0));
        let model = LlamaChat::load(&path, scaled.clone()).unwrap();
        assert_eq!(model.info().context_tokens, Some(1024));
        let prompt = "a".repeat(700);
        let request = ChatRequest::new([Message::user(prompt)]).with_temperature(0.0).with_max_tokens(4);
        assert!(model.generate(&request).await.unwrap().usage.input_tokens > Some(700));
        let unscaled = answer(&path, options()).await;
        assert_ne!(answer(&path, scaled).await, unscaled, "{method:?} has no effect");
    }
    let too_long = long.with_context_tokens(1025).with_rope_scaling(RopeScaling::new(RopeMethod::Yarn, 2.0));
    assert_eq!(refused(&path, too_long).kind(), ErrorKind::Config);
}

#[test]
fn what_is_kept_is_estimated_and_gives_way_where_memory_is_short() {
    let folder = temp_dir();
    let path = tiny_llama(folder.path());
    let estimate = |options: LlamaOptions| LlamaChat::estimate(&path, &options).unwrap();
    let usual = estimate(options().with_memory_limit(1 << 32));
    let token = usual.cache_bytes / 256;
    assert_eq!((usual.kept_tokens, usual.kept_bytes), (4096, (4096 + 256) * token));
    let bare = usual.total_bytes() - usual.kept_bytes;
    for (spare, kept) in [(0, 0), (256 * token, 0), (356 * token, 100), (9999 * token, 4096)] {
        let found = estimate(options().with_memory_limit(bare + spare));
        assert_eq!((found.kept_tokens, found.fits()), (kept, true), "{spare}");
        LlamaChat::load(&path, options().with_memory_limit(bare + spare)).unwrap();
    }
    // Who asks for a number gets it or an error.
    let asked = estimate(options().with_memory_limit(bare + 300 * token).with_kept_tokens(100));
    assert_eq!((asked.kept_tokens, asked.fits()), (100, false));
    assert_eq!(estimate(options().with_kept_tokens(0)).kept_bytes, 0);
}

#[test]
fn the_estimate_refuses_with_the_numbers() {
    let folder = temp_dir();
    let path = tiny_llama(folder.path());
    let tight = options().with_memory_limit(1 << 20);
    let estimate = LlamaChat::estimate(&path, &tight).unwrap();
    assert!(!estimate.fits());
    assert_eq!(estimate.available_bytes, Some(1 << 20));
    // One layer of two heads of 16: keys and values of 2 bytes each, for 256 tokens.
    assert_eq!(estimate.cache_bytes, 256 * 2 * (16 + 16) * 2);
    assert_eq!(estimate.weights_bytes, std::fs::metadata(&path).unwrap().len());
    let e = refused(&path, tight);
    assert_eq!(e.kind(), ErrorKind::Config);
    assert_eq!(e.context("needed_bytes"), Some(estimate.total_bytes().to_string().as_str()));
    assert_eq!(e.context("available_bytes"), Some("1048576"));
    let adapter = TinyLora::new().write(folder.path().join("lora.gguf"));
    let more = LlamaChat::estimate(&path, &options().with_lora(&adapter, 1.0)).unwrap();
    assert_eq!(more.weights_bytes - estimate.weights_bytes, std::fs::metadata(adapter).unwrap().len());
}

#[test]
fn metadata_is_read_without_loading_and_kept_by_the_model() {
    let folder = temp_dir();
    let path = tiny_llama(folder.path());
    let meta = ModelMetadata::read(&path).unwrap();
    assert_eq!(meta.name.as_deref(), Some("tiny"));
    assert_eq!((meta.layers, meta.embedding_width, meta.vocabulary), (Some(1), Some(32), Some(259)));
    // Two embeddings, three norms, four matrices of attention, three of the feed-forward part.
    assert_eq!(meta.parameters, 2 * 32 * 259 + 3 * 32 + 4 * 32 * 32 + 3 * 32 * 64);
    assert_eq!(meta.quantisation, "F32");
    assert_eq!(meta.file_bytes, std::fs::metadata(&path).unwrap().len());
    assert_eq!(LlamaChat::load(&path, options()).unwrap().metadata(), &meta);
    assert_eq!(ModelMetadata::read(folder.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::write(folder.path().join("text"), "hello").unwrap();
    assert_eq!(ModelMetadata::read(folder.path().join("text")).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn an_adapter_counts_by_its_scale() {
    let folder = temp_dir();
    let path = tiny_llama(folder.path());
    let adapter = TinyLora::new().write(folder.path().join("lora.gguf"));
    let base = answer(&path, options()).await;
    assert_eq!(answer(&path, options().with_lora(&adapter, 0.0)).await, base);
    let with = answer(&path, options().with_lora(&adapter, 1.0)).await;
    assert_ne!(with, base);
    let other = TinyLora::new().with_seed(9).write(folder.path().join("other.gguf"));
    assert_ne!(answer(&path, options().with_lora(other, 1.0)).await, with);
    assert_eq!(answer(&path, options()).await, base, "the base is as it was");
}

#[test]
fn adapters_that_do_not_fit_are_refused_before_llama_cpp_sees_them() {
    let folder = temp_dir();
    let path = tiny_llama(folder.path());
    let at = folder.path().join("bad.gguf");
    let kind = |bytes: Vec<u8>| {
        std::fs::write(&at, bytes).unwrap();
        refused(&path, options().with_lora(&at, 1.0)).kind()
    };
    let good = TinyLora::new();
    assert_eq!(kind(good.clone().with_architecture("qwen2").bytes()), ErrorKind::InvalidInput);
    assert_eq!(kind(good.clone().with_width(64).bytes()), ErrorKind::InvalidInput);
    assert_eq!(kind(good.clone().with_rank(10_000).bytes()), ErrorKind::InvalidInput);
    // A model, half a file, no file.
    assert_eq!(kind(std::fs::read(&path).unwrap()), ErrorKind::InvalidInput);
    let whole = good.bytes();
    for end in [0, 3, 100, whole.len() / 2, whole.len() - 1] {
        assert_eq!(kind(whole[..end].to_vec()), ErrorKind::InvalidInput, "cut at {end}");
    }
    std::fs::remove_file(&at).unwrap();
    assert_eq!(refused(&path, options().with_lora(&at, 1.0)).kind(), ErrorKind::NotFound);

    let spoiled = |change: &dyn Fn(&mut Writer)| {
        let mut writer = good.writer();
        change(&mut writer);
        kind(bytes(&writer))
    };
    let tensor = |writer: &mut Writer, name: &str, dims: &[u64]| {
        writer.tensor(TensorPlan { name: name.into(), dims: dims.to_vec(), kind: TensorType::F32 });
    };
    // One half, no such tensor, a norm, another rank in each half, an upright embedding with two ranks.
    assert_eq!(spoiled(&|w| tensor(w, "blk.0.attn_k.weight.lora_a", &[32, 4])), ErrorKind::InvalidInput);
    assert_eq!(spoiled(&|w| tensor(w, "blk.0.attn_norm.weight", &[32])), ErrorKind::Unsupported);
    for (name, a, b) in [
        ("blk.7.attn_k.weight", [32, 4], [4, 32]),
        ("blk.0.attn_k.weight", [32, 4], [5, 32]),
        ("token_embd.weight", [4, 259], [5, 32]),
        ("output.weight", [4, 259], [4, 32]),
    ] {
        let refusal = spoiled(&|w| {
            tensor(w, &format!("{name}.lora_a"), &a);
            tensor(w, &format!("{name}.lora_b"), &b);
        });
        assert_eq!(refusal, ErrorKind::InvalidInput, "{name}");
    }
    // A key of another type than llama.cpp expects.
    let mut writer = Writer::default();
    writer.set("general.architecture", Value::Text("llama".into()));
    writer.set("general.type", Value::Text("adapter".into()));
    writer.set("adapter.type", Value::Text("lora".into()));
    writer.set("adapter.lora.alpha", Value::Text("8".into()));
    tensor(&mut writer, "blk.0.attn_k.weight.lora_a", &[32, 4]);
    tensor(&mut writer, "blk.0.attn_k.weight.lora_b", &[4, 32]);
    assert_eq!(kind(bytes(&writer)), ErrorKind::InvalidInput);

    let fine = TinyLora::new().write(folder.path().join("fine.gguf"));
    let two = options().with_lora(&fine, 1.0).with_lora(&fine, 0.5);
    assert_eq!(refused(&path, two).kind(), ErrorKind::Unsupported);
    assert_eq!(refused(&path, options().with_lora(&fine, f32::NAN)).kind(), ErrorKind::Config);
}

#[tokio::test]
async fn an_adapter_for_an_embedding_counts() {
    let folder = temp_dir();
    let path = tiny_llama(folder.path());
    let mut writer = TinyLora::new().writer();
    for (name, dims) in [("token_embd.weight.lora_a", [4, 259]), ("token_embd.weight.lora_b", [4, 32])] {
        writer.tensor(TensorPlan { name: name.into(), dims: dims.to_vec(), kind: TensorType::F32 });
    }
    let at = folder.path().join("embedding.gguf");
    std::fs::write(&at, bytes(&writer)).unwrap();
    assert_ne!(answer(&path, options().with_lora(at, 1.0)).await, answer(&path, options()).await);
}
