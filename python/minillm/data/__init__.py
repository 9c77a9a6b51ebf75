"""Token files and conversations on disk, and the order in which training reads them."""

from minillm.data.batches import Batch, Batches, evaluation_windows
from minillm.data.chat_template import ChatTemplate
from minillm.data.conversations import ConversationBatches, Conversations
from minillm.data.token_file import TokenFile, TokenManifest

__all__ = [
    "Batch", "Batches", "ChatTemplate", "ConversationBatches", "Conversations", "TokenFile",
    "TokenManifest", "evaluation_windows",
]  # fmt: skip
