use rig_core::completion::CompletionRequest;
use rig_core::test_utils::{MockCompletionModel, MockTurn};

use crate::Figures;

pub(crate) async fn measure(figures: &mut Figures, calls: usize) {
    let calls = calls / 10;
    let model = MockCompletionModel::from_turns((0..2 * calls).map(|_| MockTurn::text("hello")));
    let (role, question) = ("helper", "hi there");
    figures
        .time("run", "rig 0.44.0 (format!, model)", calls, || async {
            let request = CompletionRequest::new(format!("You are {role}.\n{question}"));
            drop(model.call(request).await.expect("an answer"));
        })
        .await;
}
