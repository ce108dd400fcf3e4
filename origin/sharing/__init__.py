"""What several origins of one fleet tell each other, so that each knows every node whichever of them it reports to.

The rules are pure (`messages`, `peers`, `outgoing`); `sharing` applies them to the fleet over one interface (`bus`),
which is this process alone (`in_process`) or NATS (`over_nats`).
"""
