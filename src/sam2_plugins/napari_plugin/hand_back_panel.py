"""The dock with the button that hands corrections back to the program that opened the window."""

from typing import Any

from sam2_plugins.napari_plugin.forms import Panel, Words, button, notice, say
from sam2_plugins.napari_plugin.handed_over import HandedOver, describe


class HandBackPanel(Panel):
    """What was changed, and sending it back.

    Args:
        handed_over: The image, as it is shown.
    """

    def __init__(self, handed_over: HandedOver) -> None:
        super().__init__("Corrections")
        self.handed_over = handed_over
        self.text = Words()
        self.column.addWidget(self.text)
        tip = "Corrected slices become prompts; what is not sent is kept for the next time"
        self.send = button("Send back", self._send, tip=tip)
        self.notice = notice()
        self.add(self.send)
        self.column.addWidget(self.notice)
        self.column.addStretch()
        controller = handed_over.controller
        self.listen(controller.objects_changed, self.update_text)
        self.listen(controller.failed, self.update_text)
        self.listen(handed_over.sent, self._on_sent)
        self.update_text()

    def update_text(self, *_: Any) -> None:
        """Show what there is to send."""
        handed_over = self.handed_over
        self.text.setText(describe(handed_over.handover, handed_over.anew))
        self.send.setEnabled(bool(handed_over.anew) and not handed_over.is_sending)

    def _send(self) -> None:
        try:
            self.handed_over.send_back()
        except (ValueError, RuntimeError) as error:
            say(self.notice, str(error))
        self.update_text()

    def _on_sent(self, count: int) -> None:
        say(self.notice, f"Sent back: {count} corrected masks.")
        self.update_text()
