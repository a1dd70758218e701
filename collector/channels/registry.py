"""Every channel there is."""

from __future__ import annotations

from collector.channels.apprise import Apprise
from collector.channels.feishu import Feishu
from collector.channels.webhook import Webhook

Receiver = Webhook | Apprise | Feishu
"""An entry of ``notifications`` in ``collector.yaml``, told apart by its key ``channel``."""
