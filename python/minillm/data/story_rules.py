"""The words and sentences of the built-in stories; `grammar.py` says how to read them.

Three things matter when a line is added. The alternatives of each choice must be prefix-free, or
the entropy is no longer exact (`tests/unit/data/test_stories.py` finds the pair that is not). A
cast member is first mentioned by its first form. And each line changes the text that every seed
gives, so that old results no longer compare.

The cast is small on purpose. A later mention of a cast member costs nothing to who remembers the
first one, and the logarithm of the choices to who does not; a model of a million parameters does
not learn to look back within the demo's minutes, so that with thirty heroes it would end a
fifth above the floor however well it writes.
"""

CAST = {
    "hero": [
        "name/he/him/his",
        "1 Lily/she/her/her",
        "1 Tom/he/him/his",
        "1 Mia/she/her/her",
        "1 Leo/he/him/his",
    ],
    "friend": ["name", "1 Pip", "1 Momo", "1 Biscuit", "1 Clover"],
    "animal": [
        "kind",
        "1 dog",
        "1 cat",
        "1 rabbit",
        "1 fox",
        "1 duck",
        "1 mouse",
        "1 hedgehog",
        "1 goat",
    ],
    "color": [
        "word",
        "1 red",
        "1 blue",
        "1 green",
        "1 yellow",
        "1 purple",
        "1 silver",
        "1 golden",
        "1 striped",
    ],
    "thing": [
        "word",
        "1 ball",
        "1 kite",
        "1 boat",
        "1 hat",
        "1 drum",
        "1 scarf",
        "1 lantern",
        "1 whistle",
    ],
    "place": [
        "name",
        "1 forest",
        "1 river",
        "1 garden",
        "1 park",
        "1 beach",
        "1 hill",
        "1 market",
        "1 island",
    ],
    "family": [
        "word/he",
        *("4 mother/she", "4 father/he", "4 grandma/she", "3 grandpa/he", "3 sister/she"),
        *("3 brother/he", "2 aunt/she", "2 uncle/he", "1 teacher/she", "1 cousin/he"),
    ],
    "food": [
        "words",
        *("4 apple pie", "4 warm soup", "4 pancakes", "3 bread and honey", "3 carrot cake"),
        *("3 noodles", "3 plum jam", "3 cheese on toast", "2 sweet corn", "2 blueberry muffins"),
        *("2 dumplings", "2 roasted nuts", "2 rice with beans", "2 ginger cookies", "1 fig bread"),
    ],
    "crop": [
        "word",
        *("4 bean", "4 pumpkin", "3 sunflower", "3 tomato", "3 cherry", "3 melon", "2 turnip"),
        *("2 radish", "2 lemon", "2 pepper", "1 tulip", "1 poppy"),
    ],
}

_WORDS = {
    "trait": [
        "3 [kind|brave|curious|shy|clever|cheerful|quiet|little|gentle|funny|patient|bold]",
        "2 [polite|stubborn|tidy|messy|hungry|friendly|serious|careful|restless|silly|wise|sleepy]",
        "1 [loud|neat|dreamy|nosy|modest|gloomy|lucky|forgetful|daring|merry|thirsty|stern]",
    ],
    "coat": [
        "3 [small|fat|fluffy|brown|lazy|black|drowsy|young|noisy|round|gray|proud]",
        "2 [skinny|grumpy|tall|muddy|nervous|famous|dizzy|chubby|tame|wild|limping|hairy]",
        "1 [bald|plump|ragged|tiny|hasty|spotless|wet|bearded|freckled|masked|wary|jolly]",
    ],
    "weather": ["2 [sunny|warm|cold|windy|bright|wet]", "1 [foggy|cloudy|misty|stormy|fine|dry]"],
    "time": ["3 [morning|afternoon|evening|day]", "1 [Saturday|holiday|Monday|night]"],
    "month": [
        "1 [January|February|March|April|May|June|July|August|September|October|November|December]",
    ],
    "sad": [
        "1 [sad|worried|lonely|upset|afraid|cross|unhappy|tired|puzzled|jealous|gloomy|hopeless"
        "|bored|nervous|ashamed|shaken]",
    ],
    "glad": [
        "1 [happy|proud|glad|delighted|thankful|merry|calm|excited|hopeful|cozy|carefree|relieved"
        "|full of joy|as light as air|ready for bed|warm inside]",
    ],
    "go": [
        "2 [went|walked|ran|hurried]",
        "1 [skipped|wandered|marched|raced|tiptoed|strolled|hopped|danced]",
    ],
    "said": ["3 said", "1 [whispered|shouted|cried|laughed|sang|muttered|sighed|giggled]"],
    "how": [
        "1 [slowly|quickly|softly|loudly|gladly|carefully|bravely|politely|suddenly|happily|finally"
        "|gently|boldly|proudly|quietly|eagerly|nervously|wisely|sweetly|calmly|at once|once more]",
    ],
    "look": [
        "2 [rusty|broken|dusty|muddy|forgotten|tiny|bent|wooden|painted|cracked|shiny|sticky|wet"
        "|soft|torn|pointed|square|hollow|wrinkled|heavy|frozen|stolen|magic|dirty]",
        "1 [burnt|lost|glass|paper|stone|copper|crooked|pretty|strange|huge|cheap|folded|silk|brass"
        "|fresh|sharp]",
    ],
    "item": [
        "2 [spoon|boot|nail|feather|bottle|shell|stick|button|coin|map|stone|hat|cup|rope|clock]",
        "1 [candle|pencil|bone|thimble|ladder|carpet|trumpet|letter|sock|bucket|crown|hammer|bag"
        "|cork|marble|pebble|needle|lid|glove|pot|shoe|book|stamp|jar|wheel|ring|plate|card|lamp]",
    ],
    "junk": ["3 a {look} {item}", "2 [two|three|four|five|six|seven|nine|ten] {look} {item}s"],
    "spot": [
        "3 [under|behind|beside|near|inside|above] the"
        " [bench|bush|bridge|log|stairs|cart|rock|shed|wall|barn|oak|fence|barrel|tent|well|cave"
        "|haystack|hollow tree|nest|mailbox|chimney|puddle|statue|gate|ditch|stable|roses|piano]",
        "1 [between|behind|under] {junk} and {junk}",
    ],
    "noise": ["1 [crash|splash|thump|squeak|howl|rattle|rumble|bang|hiss|whistle|snap|roar]"],
    "hobby": [
        "4 [climb|draw|count|watch|chase|paint|feed|name|find|follow|study|catch]"
        " [trees|birds|clouds|boats|stars|snails|waves|trains|frogs|shadows|kittens|leaves|fish"
        "|bubbles|moths|geese]",
        "2 play [hide and seek|tag|chess|cards|the flute|in the mud|with marbles|the drums|school]",
        "2 [sing|dance|read|rest|tell jokes|build towers|bake|whistle|juggle]"
        " [all day|after lunch|in the sun|for hours|by the fire|at dawn]",
    ],
    "dish": [
        "1 [hot|cold|sweet|sour|salty|spicy|fried|baked|boiled|raw|burnt|creamy|crunchy|juicy]"
        " [peas|rice|plums|beans|corn|fish|nuts|cheese|grapes|soup|bread|eggs|figs|leeks|cake|pears"
        "|noodles|beets|jam|dates|milk|kale|toast|stew]",
    ],
    "child": [
        "1 [Ada|Bo|Cora|Dan|Eve|Gil|Hana|Ike|Joy|Kim|Lou|May|Ned|Ola|Pam|Ravi|Sue|Tess|Una|Vic|Wes"
        "|Xia|Zed|Amos|Bea|Carl|Dora|Emil|Gwen|Hans|Ida|Jim]",
    ],
    "adult": [
        "1 [Mr.|Mrs.|Miss|Doctor|Baker|Farmer|King|Queen] [Hill|Brown|Moss|Reed|Stone|Woods|Frost"
        "|Bell|Lamb|Snow|Finch|Berry|Fields|Page|Cook|Birch]",
    ],
    "guest": [
        "1 [frog|bird|snail|cow|bee|crab|moth|sailor|giant|dragon|king|witch|baker|doctor|robot"
        "|clown|swan|whale|dwarf|singer|farmer|spider|tiger|knight]",
    ],
    "wound": ["1 [wing|leg|foot|tail|nose|ear|tooth|knee|back|belly|thumb|elbow]"],
    "home": [
        "3 a [small|little|tall|narrow|cozy|crooked|drafty|white] [house|cottage|cabin|farm|tower]",
        "1 a [tiny|busy|sleepy|pretty] [village|town] [by the sea|in the hills|far away]",
    ],
}

_BEGINNING = {
    "when": ["1 One {weather} {time}", "1 One {weather} {month} {time}"],
    "opening": [
        "6 Once upon a time, a {trait}, {trait} child named {hero} lived in {home} {spot}.",
        "4 In {home} {spot} lived a {trait} child named {hero}.",
        "3 Long ago, a {trait} child named {hero} lived in {home} [near|beyond|beside] the"
        " {place}.",
        "2 {hero} was a {trait}, {trait} child who liked to {hobby} and {hobby}.",
        "2 There was a {trait} child called {hero}, and {hero.he} loved to {hobby}.",
    ],
    "company": [
        "4 {hero.His} best friend was a {coat} {animal} named {friend}.",
        "3 Every {time}, {hero} met a {coat}, {coat} {animal} named {friend} to {hobby}.",
        "2 Next door lived a {coat} {animal} called {friend}, who liked to {hobby}.",
        "2 {hero.He} and {friend}, a {coat} {animal}, would {hobby} {spot}.",
    ],
    "others": [
        "3 {child}, {child} and {child} were {trait} too, and {adult} gave them all {dish}.",
        "2 {child} and {child} would {hobby} with them, and {adult} and {child} gave them {dish}.",
        "2 In {hero.his} pocket {hero.he} had {junk}, {junk} and {junk}.",
    ],
}

_LOST_THING = {
    "loses": [
        "3 {when}, {hero} {how} took {hero.his} {color} {thing} to the {place}.",
        "2 {when}, {hero.his} {family} gave {hero} a {color} {thing},"
        " and {hero.he} {go} to the {place} with it.",
        "1 {hero} had a {look}, {color} {thing}, and {hero.he} {go} to the {place} with it.",
    ],
    "gone": [
        "2 But while {hero.he} stopped to {hobby}, the {thing} disappeared {spot}.",
        "2 Then there was a {noise} {spot}, and the {thing} was gone.",
        "1 A {coat} [wind|crow|wave|monkey|thief|goose|pirate|ghost] {how} took it away.",
    ],
    "worry": [
        '2 {hero} felt {sad}. "Where is my {color} {thing}?" {hero.he} {said} {how}.',
        '1 "My {thing} is lost!" {said} {hero}, {sad} and {sad}.',
        '1 "{friend}, who took my {thing}?" {hero} {said} {how}. {friend} was {sad} too.',
    ],
    "search": [
        "3 They looked {spot} and {spot}, but found {junk} and {junk}.",
        "2 {friend} searched {spot}, {child} searched {spot} and {hero} {spot}.",
        "1 They {go} to look {spot}, but there was {junk}, {junk} and {junk}.",
        "1 {adult}, {adult} and {child} had not seen it.",
    ],
    "finds": [
        "2 Then {friend} {how} saw something {color} {spot}. It was the {thing}!",
        "2 Then {hero} heard a {noise} {spot}. There sat a {coat} {guest} with {junk}, {junk}"
        " and the {color} {thing}.",
        "1 It was {friend} who {how} pulled the {thing} out of a {look} {item} {spot}.",
    ],
    "lost_thing": [
        "3 {loses} {gone}\n\n{worry} {search} {finds}",
        "1 {loses} {gone}\n\n{worry} {search} {search} {finds}",
    ],
}

_GUEST = {
    "meets": [
        "2 {when}, {hero} and {friend} {go} to the {place}. A {coat}, {coat} {guest}"
        " sat there {spot}.",
        "1 {when}, a {coat} {guest} {go} to the {place}, where {hero} and {friend}"
        " wanted to {hobby}.",
    ],
    "trouble": [
        '2 "My {wound} hurts and I cannot {hobby},"',
        '2 "I own nothing but {junk} and {junk},"',
        '1 "I lost {junk} {spot},"',
        '1 "I am {sad}, for nobody will {hobby} with me,"',
    ],
    "helps": [
        "2 {hero} {how} shared {hero.his} {food}, and {friend} brought {junk}.",
        '2 "We can help!" {said} {hero}. {hero.He} {go} home, and {hero.his} {family} came with'
        " {dish}, {junk} and {junk}.",
        "1 {friend} {go} {spot} and came back with {child}, {adult} and {junk}.",
    ],
    "thanks": [
        '2 "You are {trait} and {trait}, {hero}, and your {animal} is {trait}," {said} the guest.',
        '1 "Now I am {glad}! Take this {color} {thing}," {said} the guest {how}.',
    ],
    "help_guest": ["1 {meets} {trouble} {said} the guest {how}.\n\n{helps} {thanks}"],
}

_STORM = {
    "outing": [
        "1 {when}, {hero} and {friend} {go} to the {place} to {hobby} and {hobby}.",
        "1 It was a {weather} {month} {time}, and {hero} {how} {go} to the {place} with {friend},"
        " {child} and {child}.",
    ],
    "breaks": [
        "2 Soon the sky turned [dark|gray|black|green], and {spot} they heard a {noise}.",
        "1 With a {noise} and a {noise}, the [rain|snow|hail|night] came, and {friend} was {sad}.",
    ],
    "shelter": [
        '2 "Let us hide {spot}!" {said} {hero} {how}. There they began to {hobby}.',
        '2 "Follow me!" {said} {hero}, and they sat {spot}, {sad} and {sad}, and ate {dish}.',
        "1 They waited {spot} until {hero.his} {family} {how} came with {dish} and {junk}.",
    ],
    "clears": [
        "2 When the sun came back, they found {junk}, {junk} and {junk} {spot}.",
        "1 All that the storm had left at the {place} was {junk} and {junk}.",
    ],
    "storm": ["1 {outing} {breaks}\n\n{shelter} {clears}"],
}

_GARDEN = {
    "plants": [
        "2 {when}, {hero.his} {family} gave {hero} a {crop} seed, and {hero.he}"
        " {how} planted it {spot}.",
        "1 {hero} found {junk} and a {look} {crop} seed {spot}, and planted it {spot}.",
    ],
    "tends": [
        "2 Every {time} {hero} {go} there, and {friend} would {hobby} {spot}.",
        '1 "Grow, {look} {crop}!" {hero.he} {said} {how}. {friend} and {child} {said} it too.',
    ],
    "doubts": [
        "2 For [two|three|four|five|six|seven|nine|ten] [days|weeks] {hero} felt {sad} and {sad}.",
        "1 One {time} there was a {noise}. A {coat} {guest} had eaten a leaf {how}.",
    ],
    "grows": [
        "2 Then the {crop} {how} grew as tall as {adult}, {child} and {child}.",
        "1 But {friend} kept watch {spot}, and soon the {crop} was {look} and {look}.",
    ],
    "shares": [
        "2 They {go} to the {place} with it in a {color} {thing} and traded it for {junk}, {junk}"
        " and {dish}.",
        "1 {hero.His} {family} {how} made {food} out of it for {adult}, {child} and {child}.",
    ],
    "seed": ["1 {plants} {tends}\n\n{doubts} {grows} {shares}"],
}

_ENDING = {
    "evening": [
        "3 In the evening, {hero} and {friend} {how} ate {dish}, {dish} and {dish}.",
        "2 {hero} {how} hugged {friend}. They {go} home, {glad} and {glad}, to {hobby}.",
        '2 "What a {weather} {time}!" {said} {hero} {how}. {friend} was {glad}.',
        "1 At home, {hero} {how} told {hero.his} {family} everything over {food} with {dish}.",
        "1 {child}, {child}, {adult} and a {coat} {guest} {go} to their party.",
    ],
    "moral": [
        "3 From then on, {hero} and {friend} went to the {place} every {time} to {hobby}.",
        "2 And {hero} never forgot the {time} when the {animal} named {friend} was so {trait}.",
        "2 {hero} learned that it is good to be {trait}, better to be {trait} and best to {hobby}.",
        "1 And {friend} the {animal} dreamed of {junk}, {junk} and {junk}.",
    ],
}

RULES = {
    **_WORDS,
    **_BEGINNING,
    **_LOST_THING,
    **_GUEST,
    **_STORM,
    **_GARDEN,
    **_ENDING,
    "plot": ["4 {lost_thing}", "3 {help_guest}", "3 {storm}", "3 {seed}"],
    "story": ["1 {opening} {company} {others}\n\n{plot}\n\n{evening} {moral}\n"],
}
