//! Images, speech, transcription and moderation.
