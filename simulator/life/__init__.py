"""The lives of ambulances in virtual time: what their agents say and when the centre hears it (docs/drills.md). Pure.

Everything comes from a seed. ``kit`` is what an agent reads of a healthy kit, ``world`` where a vehicle is and what the
radio is like there, ``faults`` what befalls it, ``body`` what of the kit works at a moment, ``agent`` how an agent
tells it, and ``lives`` the vehicles of a site together.
"""
