//! What all engines in processes of their own can be asked, and the kind of statistics that they have.

macro_rules! lifecycle {
    ($stats:ty, $reply:ident) => {
        /// The number of the engine's process; none while it is down. It is started again by the next call.
        pub fn process_id(&self) -> Option<u32> {
            Some(self.0.shared.process.load(std::sync::atomic::Ordering::Acquire)).filter(|id| *id != 0)
        }

        /// How many processes were started so far.
        pub fn starts(&self) -> u64 {
            self.0.shared.starts.load(std::sync::atomic::Ordering::Acquire)
        }

        /// What the engine did since its process was started, and does now. Counts as a call: starts a process that is
        /// down.
        ///
        /// # Errors
        /// `Unavailable`.
        pub async fn stats(&self) -> Result<$stats> {
            match self.0.ask(Call::Stats, &katena_core::Context::new()).await? {
                Reply::$reply(stats) => Ok(stats),
                _ => Err(unexpected()),
            }
        }

        /// Allows starts again after too many processes ended without an answer.
        pub fn restart(&self) {
            let _ = self.0.keeper.try_send(super::keeper::Message::Restart);
        }
    };
}
