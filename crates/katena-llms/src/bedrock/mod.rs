//! Amazon Bedrock.
