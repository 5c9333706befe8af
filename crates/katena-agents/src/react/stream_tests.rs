use super::*;

fn split(text: &str, size: usize) -> (Vec<String>, String) {
    let (mut splitter, mut thoughts, mut answer) = (Splitter::default(), Vec::new(), String::new());
    let chars: Vec<char> = text.chars().collect();
    let mut events = Vec::new();
    for piece in chars.chunks(size) {
        events.extend(splitter.push(&piece.iter().collect::<String>()));
    }
    events.extend(splitter.end());
    for event in events {
        match event {
            Event::Text(piece) => answer.push_str(&piece),
            Event::Custom { name, value } if name == "thought" => {
                thoughts.push(value.as_str().unwrap_or_default().to_owned());
            }
            other => panic!("{other:?}"),
        }
    }
    (thoughts, answer)
}

#[test]
fn thoughts_and_answers_are_told_apart_whatever_the_pieces() {
    for size in [1, 2, 3, 7, 1000] {
        let text = "Thought: I know\nit now\nFinal Answer: It is 4.\nAction: is a word here.";
        let (thoughts, answer) = split(text, size);
        assert_eq!(thoughts, ["I know\nit now"]);
        assert_eq!(answer, "It is 4.\nAction: is a word here.");
        let (thoughts, answer) =
            split("Thought: look\nAction: x\nAction Input: {}\nObservation: 3\nFinal Answer: no", size);
        assert_eq!((thoughts, answer.as_str()), (vec!["look".to_owned()], ""));
        assert_eq!(split("Just words.\nMore.", size).1, "Just words.\nMore.");
    }
}
