//! What a script may take: a language without files, clock and chance, and bounds on everything else.
//!
//! Data are bounded by what one value may hold, the variables of a function and the functions that call each other: a
//! script that is written to take as much as it can got to 1.4 GB in six seconds.

use std::time::{Duration, Instant};

use rhai::packages::{
    BasicArrayPackage, BasicIteratorPackage, BasicMapPackage, BasicMathPackage, BitFieldPackage, CorePackage,
    LogicPackage, MoreStringPackage, Package as _,
};
use rhai::{Dynamic, Engine, EvalAltResult, OptimizationLevel};

use super::error::thrown;
use crate::Diagnostic;

/// Steps of the interpreter: a third of a second of work at most.
pub(super) const OPERATIONS: u64 = 1_000_000;
/// How long a script may take.
const TIME: Duration = Duration::from_secs(10);
/// Functions that call each other.
pub(super) const CALLS: usize = 32;
/// Expressions inside each other, and the same inside a function.
const DEPTH: (usize, usize) = (64, 48);
/// Bytes of a text, or of all in an array or a map.
pub(super) const TEXT: usize = 256 << 10;
/// Elements of an array or a map, with those inside it.
pub(super) const ELEMENTS: usize = 5_000;
/// Variables of a function at once.
const VARIABLES: usize = 128;
/// Modules in all.
const MODULES: usize = 64;

/// What a script is told that took too long.
pub(super) const TOO_LONG: &str = "it takes longer than 10 seconds";

/// An interpreter with these bounds, which knows no kinds yet.
pub(super) fn engine() -> Engine {
    let mut engine = Engine::new_raw();
    CorePackage::new().register_into_engine(&mut engine);
    LogicPackage::new().register_into_engine(&mut engine);
    BasicMathPackage::new().register_into_engine(&mut engine);
    BitFieldPackage::new().register_into_engine(&mut engine);
    BasicArrayPackage::new().register_into_engine(&mut engine);
    BasicMapPackage::new().register_into_engine(&mut engine);
    BasicIteratorPackage::new().register_into_engine(&mut engine);
    MoreStringPackage::new().register_into_engine(&mut engine);
    engine
        .set_optimization_level(OptimizationLevel::None)
        .set_strict_variables(true)
        .set_fail_on_invalid_map_property(true)
        .set_max_operations(OPERATIONS)
        .set_max_call_levels(CALLS)
        .set_max_expr_depths(DEPTH.0, DEPTH.1)
        .set_max_string_size(TEXT)
        .set_max_array_size(ELEMENTS)
        .set_max_map_size(ELEMENTS)
        .set_max_variables(VARIABLES)
        .set_max_modules(MODULES);
    for symbol in ["eval", "print", "debug"] {
        engine.disable_symbol(symbol);
    }
    // The core of the language brings it, and these take its place.
    engine.register_fn("sleep", |_: rhai::INT| no_sleep());
    engine.register_fn("sleep", |_: rhai::FLOAT| no_sleep());
    let end = Instant::now() + TIME;
    engine.on_progress(move |_| (Instant::now() > end).then(|| Dynamic::from(TOO_LONG)));
    keep_call_frames(&mut engine);
    engine
}

fn no_sleep() -> Result<(), Box<EvalAltResult>> {
    Err(thrown(Diagnostic::error("`sleep` is not there for scripts")))
}

/// Lets the interpreter keep the frames of calls, for whoever asks where a node was made.
#[expect(deprecated, reason = "rhai marks it so to say that it may change")]
fn keep_call_frames(engine: &mut Engine) {
    engine.register_debugger(
        |_, debugger| debugger,
        |_, _, _, _, _| Ok(rhai::debugger::DebuggerCommand::Continue),
    );
}
