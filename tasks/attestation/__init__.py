"""What a stranger checks without Slipway: how a version was made, tested and judged, as signed statements, bill of materials and card."""
