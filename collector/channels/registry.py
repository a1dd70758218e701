"""Every channel there is."""

from __future__ import annotations

from collector.channels.apprise import Apprise
from collector.channels.dingtalk import DingTalk
from collector.channels.feishu import Feishu
from collector.channels.sms import Sms
from collector.channels.webhook import Webhook
from collector.channels.wecom import WeCom

Receiver = Webhook | Apprise | Feishu | DingTalk | WeCom | Sms
"""An entry of ``notifications`` in ``collector.yaml``, told apart by its key ``channel``."""
