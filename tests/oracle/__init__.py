"""The contract's clocks, counted a second time by somebody who has not read the code.

``days`` knows the decrees and the zones, ``case`` says what a ticket went through, ``oracle`` steps its clocks minute
by minute, ``made`` makes cases by a seed; none of the four imports anything of the product (a test reads them).
Written from the owner's requirements alone; the README lists where those are silent and how they are read here.

``compare`` gives a case to the product and sets both side by side, ``__main__`` does so for as many as asked
(``make clocks``).
"""
